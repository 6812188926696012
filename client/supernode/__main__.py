"""``python -m client.supernode``."""

import sys

from client.supernode.command import main

if __name__ == "__main__":
    sys.exit(main())
