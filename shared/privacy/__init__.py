"""Example-level differential privacy, as both sides need it: accounting, calibration, and models it can train.

May import nothing of ours but errors. Only this and ``client.privacy`` import opacus, and only inside functions, since
importing it takes seconds.
"""
