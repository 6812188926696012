"""The offline report of a run: one self-contained HTML file from its events. May import ``monitor`` and ``shared``."""

from monitor.privacy import Privacy
from monitor.report.extras import Baselines, Extras, SeedRun
from monitor.report.page import render_report, write_report

__all__ = ["Baselines", "Extras", "Privacy", "SeedRun", "render_report", "write_report"]
