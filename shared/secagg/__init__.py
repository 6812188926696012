"""Secure aggregation: what both sides compute, as pure functions. Bell et al., CCS 2020 (SecAgg+).

Each client adds a mask of its own and one for each neighbour that cancels in the sum; the server learns the sum alone.
Imports nothing of Flower and no torch.
"""
