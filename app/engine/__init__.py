"""How rounds are run: the local grid and its workers, the round loop, control, checkpoints."""
