"""Alembic's migrations of the run store, in ``versions``: they import nothing of ours, so they never change."""
