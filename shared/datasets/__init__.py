"""Data sets as tensors in memory, and how they are spread over clients."""
