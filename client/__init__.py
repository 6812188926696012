"""What runs beside the data: training, signing, and hostile behaviour for tests.

May import ``mesh``, ``monitor``, ``shared``.
"""
