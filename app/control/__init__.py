"""Runs as services over storage: started, steered, watched, imported. Imports neither torch nor flwr, nor Flask."""
