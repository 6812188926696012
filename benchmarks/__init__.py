"""What proves the figures in the documents; each module runs with ``python -m benchmarks.NAME``."""
