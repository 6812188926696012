"""Peers that keep training when the server is gone. May import ``monitor`` and ``shared``; never torch."""
