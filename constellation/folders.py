"""Where things lie on this machine: the user's data folder, and (from ``app.run_folder``) a run's own folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from app.run_folder import CONFIG_FILE as CONFIG_FILE
from app.run_folder import EVENTS_FILE as EVENTS_FILE
from app.run_folder import METRICS_FILE as METRICS_FILE
from app.run_folder import MODEL_FILE as MODEL_FILE
from app.run_folder import PRIVACY_FOLDER as PRIVACY_FOLDER
from app.run_folder import REPORT_FILE as REPORT_FILE
from app.run_folder import RESULT_FILE as RESULT_FILE
from app.run_folder import create_run_dir as create_run_dir
from app.run_folder import new_run_id as new_run_id
from app.run_folder import open_run_dir as open_run_dir
from shared.config import RunConfig

APPLICATION = "constellation-fl"


def user_data_dir() -> Path:
    """Return the user's data folder; ``CONSTELLATION_HOME`` names another."""
    named = os.environ.get("CONSTELLATION_HOME")
    return Path(named) if named else Path(platformdirs.user_data_dir(APPLICATION))


def key_dir_of(config: RunConfig) -> Path:
    """Return where the simulated clients' keys lie: ``key-dir``, or a folder of the user's that all runs share."""
    return Path(config.key_dir) if config.key_dir else user_data_dir() / "simulated-keys"
