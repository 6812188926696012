"""Keys, signatures, and the directory of who may sign."""
