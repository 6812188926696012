"""Trains for a federation on this machine's data: ``python run_client.py --help`` lists the options."""

from constellation.cli import client

if __name__ == "__main__":
    client()
