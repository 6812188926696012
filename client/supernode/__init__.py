"""The resident SuperNode: a Flower node whose ClientApp stays loaded between messages.

It speaks to a stock SuperLink beside stock SuperNodes. ``flwr_compat`` is the only module here that touches private
names of Flower. May import ``client`` and ``shared``.
"""
