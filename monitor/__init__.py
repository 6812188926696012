"""Events to sinks and back: files, the terminal view, the report. May import ``shared``."""
