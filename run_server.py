"""Serves a federation for clients on other machines: ``python run_server.py --help`` lists the options."""

from constellation.cli import server

if __name__ == "__main__":
    server()
