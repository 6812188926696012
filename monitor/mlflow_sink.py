"""Writes a run's settings and numbers into an MLflow store: a SQLite file beside the runs, or a tracking server.

Needs the extra ``mlflow`` (mlflow-skinny). Its telemetry is switched off: nothing leaves for anywhere else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monitor.scalars import scalars_of
from shared.events import Envelope, Event, RunEnded, RunStarted

EXPERIMENT = "constellation"
STORE_FILE = "mlflow.db"  # in the folder of the runs
URI_VARIABLE = "MLFLOW_TRACKING_URI"  # MLflow's own
_RUN_TAG = "constellation.run"
_MAX_PARAMS = 100  # a call, MLflow's limit
_MAX_PARAM = 6000  # characters, MLflow's limit
_STATES: Mapping[str, str] = {"completed": "FINISHED", "stopped": "KILLED", "interrupted": "KILLED"}
_SETTINGS: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
_PATIENCE: Mapping[str, str] = {  # of a tracking server that is down; MLflow's own defaults wait for minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def tracking_uri(output: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return where to write: what MLflow's own variable says, else ``OUTPUT/mlflow.db``."""
    return environment.get(URI_VARIABLE) or f"sqlite:///{(output / STORE_FILE).absolute()}"


class MlflowSink:
    """An event sink that writes to MLflow; put it behind ``InBackground``: its store takes milliseconds a call."""

    def __init__(self, uri: str) -> None:
        """Open the store at ``uri``, making it if need be."""
        self._client = _client(uri)
        self._experiment_id = _experiment(self._client)
        self._run_id = ""

    def write(self, envelope: Envelope) -> None:
        """Write what the event says, if MLflow has a place for it."""
        event = envelope.event
        if not self._run_id:
            self._run_id = self._open_run(envelope)
        if isinstance(event, RunStarted):
            self._log_settings(event)
        elif isinstance(event, RunEnded):
            if event.error:
                self._client.set_tag(self._run_id, "constellation.error", event.error)
            self._client.set_terminated(self._run_id, _STATES.get(event.state, "FAILED"), int(envelope.ts * 1000))
        else:
            self._log_metrics(event, envelope.ts)

    def close(self) -> None:
        """Do nothing: every call has written what it was given."""

    def _open_run(self, envelope: Envelope) -> str:
        """Return MLflow's run for ours: the one that an earlier start has made, or a new one."""
        name = envelope.run.replace("'", "_")  # it may be a folder's name, and must not end the text in the query
        query = f"tags.`{_RUN_TAG}` = '{name}'"
        known = self._client.search_runs([self._experiment_id], query, max_results=1)
        if known:
            run_id = str(known[0].info.run_id)
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        made = self._client.create_run(
            self._experiment_id,
            start_time=int(envelope.ts * 1000),
            tags={_RUN_TAG: name},
            run_name=envelope.run,
        )
        return str(made.info.run_id)

    def _log_settings(self, event: RunStarted) -> None:
        from mlflow.entities import Param

        known = set(self._client.get_run(self._run_id).data.params)  # a parameter is written once, MLflow insists
        missing = [Param(key, str(value)[:_MAX_PARAM]) for key, value in event.config.items() if key not in known]
        for start in range(0, len(missing), _MAX_PARAMS):
            self._client.log_batch(self._run_id, params=missing[start : start + _MAX_PARAMS])

    def _log_metrics(self, event: Event, ts: float) -> None:
        from mlflow.entities import Metric

        server_round, scalars = scalars_of(event)
        if scalars:
            metrics = [Metric(_name(name), value, int(ts * 1000), server_round) for name, value in scalars.items()]
            self._client.log_batch(self._run_id, metrics=metrics)


def _client(uri: str) -> Any:
    """Import MLflow with its telemetry off; it reads the environment while it is imported."""
    os.environ.update(_SETTINGS)
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    import logging

    from mlflow.tracking import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _experiment(client: Any) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id) if found else str(client.create_experiment(EXPERIMENT))


def _name(name: str) -> str:
    """Make a client's metric name one that MLflow takes: letters, digits and ``_-. :/``."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. :/") else "_" for c in name)[:250]
