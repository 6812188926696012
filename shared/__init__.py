"""What both sides must agree on: settings, records, data sets, models, keys and signatures, events.

Imports nothing of ours. Only ``shared.records`` knows Flower.
"""
