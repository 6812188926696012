"""The command line, ``run()`` for notebooks, presets: the only package that may import server and client."""
