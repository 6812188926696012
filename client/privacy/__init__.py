"""Training with differential privacy of each example: clipping, noise, and the ledger of what was spent.

With ``shared.privacy`` the only importer of opacus.
"""
