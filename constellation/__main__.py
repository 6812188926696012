"""``python -m constellation``: the console command, where ``.venv/bin`` is not on the path."""

from constellation.cli import main

if __name__ == "__main__":
    main()
