"""What processes that train report: events, samples, and the operator's own wish for a login link."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from app.storage.values import NodeSample, RunSource
from app.storage.views import View
from app.web.answers import answer
from app.web.api.fields import MAX_INT, Body, RunId, Text
from app.web.api.tags import INTERNAL
from app.web.context import hub, services
from app.web.guard import by_token, takes_reports
from app.web.problems import documented
from app.web.requests import MAX_INGEST_BYTES

api = APIBlueprint("internal", __name__, url_prefix="/internal", abp_tags=[INTERNAL])

MAX_EVENTS, MAX_SAMPLES = 1000, 1000  # of one call: one transaction that does not keep the others waiting

Path = Annotated[str, Field(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]
Bytes = Annotated[int | None, Field(ge=0, le=MAX_INT)]
Percent = Annotated[float | None, Field(ge=0, le=1_000_000, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class Source(Body):
    """The process that trains."""

    run_dir: Path = ""
    pid: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None
    create_time: Annotated[
        Seconds | None, Field(description="Unix seconds; tells processes with the same pid apart")
    ] = None
    host: Text = ""
    origin: Literal["terminal", "dashboard", "import"] = "terminal"


class EventBatch(Body):
    """Events of one run, in order, as events.jsonl holds them."""

    source: Source = Source()
    run: RunId
    events: Annotated[
        list[dict[str, Any]],
        Field(max_length=MAX_EVENTS, description="Rows with seq, ts, run, type and the event's own fields"),
    ]


class Accepted(View):
    """Up to where the run is known now."""

    run: str
    last_seq: int
    accepted: int


class Sample(Body):
    """One look at a process that trains; a client's heartbeat is the same."""

    node: Annotated[Text, Field(min_length=1)]
    kind: Literal["server", "worker", "client"] = "client"
    host: Text = ""
    ts: Seconds
    cpu_percent: Percent = None
    rss_bytes: Bytes = None
    memory_percent: Percent = None
    sent_bytes: Bytes = None
    received_bytes: Bytes = None
    gpu_percent: Percent = None
    gpu_memory_bytes: Bytes = None
    capabilities: dict[str, Any] = Field(default_factory=dict)


class SampleBatch(Body):
    """Samples, of one run or of none."""

    run: RunId | None = None
    samples: Annotated[list[Sample], Field(max_length=MAX_SAMPLES)]


class LoginLink(View):
    """A link that signs one browser in, once, within ten minutes."""

    url: str


@api.post("/events", responses={200: Accepted, **documented(400, 401, 409, 411, 413, 415, 422, 503)})
@by_token
@takes_reports(MAX_INGEST_BYTES)
def events(body: EventBatch) -> Response:
    """Take in events: all of them or none; those that are known are not counted twice."""
    source = RunSource(**body.source.model_dump())
    ingested = services().store.ingest(body.run, body.events, source)
    hub().ingested(ingested)
    return answer(Accepted(run=body.run, last_seq=ingested.last_seq, accepted=len(ingested.events)))


@api.post("/samples", responses={204: None, **documented(400, 401, 404, 411, 413, 415, 422, 503)})
@by_token
@takes_reports(MAX_INGEST_BYTES)
def samples(body: SampleBatch) -> Response:
    """Take in samples and heartbeats."""
    services().store.add_samples(body.run, [NodeSample(**sample.model_dump()) for sample in body.samples])
    if body.run is not None:
        hub().run_sampled(body.run)
    return Response(status=204)


@api.post("/login-codes", responses={200: LoginLink, **documented(401)})
@by_token
def login_codes() -> Response:
    """Make a one-use login link; it is valid for ten minutes."""
    return answer(LoginLink(url=login_url(request.host_url, services().access.codes.issue())))


def login_url(root: str, code: str) -> str:
    """Return the link: the code stands behind #, which browsers send to no server and no log holds."""
    return f"{root.rstrip('/')}/login#code={code}"
