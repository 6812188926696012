"""Reports a run to a dashboard elsewhere: events out of ``events.jsonl``, samples of processes, heartbeats.

A dashboard that is down, slow or broken changes nothing for the training. May import ``monitor`` and ``shared``.
"""
