"""Trains a federation on this machine: ``python run_demo.py --help`` lists the options."""

from constellation.cli import demo

if __name__ == "__main__":
    demo()
