"""Runs as services over storage: started, watched, paused and resumed. Imports neither torch nor flwr, nor Flask."""
