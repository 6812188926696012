"""Flower strategies, ours around anybody's: verification, names, adapters, saved state."""
