"""schemathesis over our own OpenAPI document: examples, boundary values, fuzzing, and sequences of calls."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from flask.testing import FlaskClient

from app.control.config_check import check_config
from app.control.previews import EpsilonPreview, PartitionPreview
from app.storage.store import Store
from app.storage.values import RunSource
from app.storage.views import RunView, Scalar
from app.web.factory import create_app
from app.web.services import Services
from shared.errors import ConfigError, Conflict
from tests.app.web.conftest import TOKEN
from tests.recorded_events import recorded_run


class PaperSupervisor:
    """Writes runs down and starts no process: what the routes need of the real one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._num_made = 0

    def create(self, config: Mapping[str, Scalar], name: str, start: bool = True) -> RunView:
        settings_ = check_config(config)
        self._num_made += 1
        return self._store.create_run(f"made-{self._num_made}", settings_.as_flat(), name=name)

    def start(self, run_id: str) -> RunView:
        return self._steer(run_id, "starting")

    def pause(self, run_id: str) -> RunView:
        return self._steer(run_id, "paused")

    def resume(self, run_id: str) -> RunView:
        return self._steer(run_id, "running")

    def stop(self, run_id: str) -> RunView:
        return self._steer(run_id, "stopping")

    def log_lines(self, run_id: str, tail: int) -> list[str]:
        return [f"line {number}" for number in range(min(tail, 3))]

    def _steer(self, run_id: str, state: str) -> RunView:
        if self._store.run(run_id).state == "completed":
            raise Conflict(f"run {run_id} is complete")
        return self._store.set_run(run_id, state=state)


class PaperPreviews:
    """Checks settings as the real one does, and draws nothing."""

    def partition(self, config: Mapping[str, object]) -> PartitionPreview:
        check_config(config)
        return PartitionPreview(
            class_names=("a",), histograms={"client-0": (1,)}, num_examples=1, num_clients=1, smallest=1, median=1,
            largest=1,
        )  # fmt: skip

    def epsilon(self, query: Mapping[str, object]) -> EpsilonPreview:
        # A good answer would be held against a schema that schemathesis 4.32 itself misreads (pairs within lists).
        raise ConfigError("target-epsilon cannot be reached on paper")


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url(services: Services) -> Iterator[str]:
    """The whole API over a port; runs are written down, and no process is started."""
    store = services.store
    store.ingest("run-1", recorded_run("run-1", num_clients=2, num_rounds=2), RunSource())  # type: ignore[arg-type]
    whole = Services(
        store=store, access=services.access, options=services.options, supervisor=PaperSupervisor(store),
        previews=PaperPreviews(),
    )  # fmt: skip
    app = create_app(whole).app
    with make_server("127.0.0.1", 0, app, _Threads, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_no_call_of_any_kind_breaks_the_server_or_the_document(url: str, tmp_path: Path) -> None:
    """Every phase: examples, coverage, fuzzing, stateful; every check but those that do not fit a readable API."""
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi/openapi.json",
        "--header", f"Authorization: Bearer {TOKEN}", "--phases", "examples,coverage,fuzzing,stateful",
        "--max-examples", "8", "--generation-deterministic", "--continue-on-failure", "--no-color",
        # Whoever is on this machine may read without a token; 405 is checked by a test of its own; and which settings
        # go together is more than a schema can say.
        "--exclude-checks", "ignored_auth,unsupported_method,positive_data_acceptance",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    assert "Server error" not in done.stdout


def test_the_document_is_openapi_3_1_and_describes_every_body(client: FlaskClient) -> None:
    document = client.get("/openapi/openapi.json").json
    assert document["openapi"] == "3.1.0"
    for path, item in document["paths"].items():
        for method, operation in item.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            for status, response in operation["responses"].items():
                assert response["description"], where
                if status >= "400":
                    assert "application/problem+json" in response["content"] or path.endswith(("health", "ready")), (
                        where
                    )
                elif status not in ("204",):
                    assert response["content"], where
    assert {"/api/status", "/api/start", "/api/stop", "/api/metrics", "/api/config"} <= document["paths"].keys()
    assert {"/metrics", "/health", "/api/v1/runs", "/internal/events"} <= document["paths"].keys()
