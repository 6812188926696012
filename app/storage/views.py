"""What the store answers, as values: the one definition that queries return, REST documents and the pages read.

Times are Unix seconds. Keys are snake_case in JSON; settings inside ``config`` stay kebab-case, as in config.toml.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RunState = Literal[
    "queued", "starting", "running", "paused", "stopping", "completed", "stopped", "failed", "interrupted"
]
RunAction = Literal["start", "pause", "resume", "stop"]
DesiredState = Literal["run", "pause", "stop"]
UpdateState = Literal["waiting", "received", "accepted", "rejected", "late"]
NodeState = Literal["online", "stale", "offline"]

Scalar = bool | int | float | str
Json = dict[str, object]


class View(BaseModel):
    """Base of what the store answers: a value, compared by what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(View):
    """One metric over the clients of a round."""

    mean: float
    deviation: float
    minimum: float
    maximum: float
    p10: float | None = None  # from 10 clients up
    median: float | None = None
    p90: float | None = None


class PrivacyView(View):
    """What the privacy accountants say; ``unit`` tells example-level from client-level, which are never mixed."""

    unit: Literal["example", "client"]
    epsilon: float  # maximum over clients
    epsilon_median: float
    delta: float
    target_epsilon: float | None = None  # the budget
    accountant: str  # "prv", "rdp"
    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    steps: int
    sampler: str
    exhausted_clients: int = 0
    warning: str = ""  # where the number means little
    by_client: dict[str, float] = Field(default_factory=dict)  # epsilon, at most 200 clients


class RunView(View):
    """One run: what a list shows of it."""

    run_id: str
    name: str = ""  # a person's own, "" when there is none
    state: RunState
    desired_state: DesiredState = "run"
    reason: str = ""  # why it waits, or what it does: "waiting for clients 1/2", "train: 3 of 10 clients answered"
    origin: Literal["dashboard", "terminal", "import"]
    error: str = ""
    engine: str = ""
    dataset: str = ""
    model: str = ""
    strategy: str = ""
    partition: str = ""
    alpha: float | None = None
    num_clients: int = 0
    num_rounds: int = 0
    num_parameters: int = 0
    rounds_completed: int = 0
    current_round: int = 0  # 0 before the first
    phase: str = ""  # "train", "evaluate", "aggregate", "" between
    created_ts: float
    started_ts: float | None = None
    ended_ts: float | None = None
    updated_ts: float  # of the last event
    seconds: float = 0.0  # of all starts together
    eta_seconds: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    best_accuracy: float | None = None
    best_round: int = 0
    updates_accepted: int = 0
    updates_rejected: int = 0
    updates_late: int = 0
    rejections: dict[str, int] = Field(default_factory=dict)  # by reason, most frequent first
    bytes_received: int = 0
    epsilon: float | None = None
    delta: float | None = None
    epsilon_unit: str = ""
    last_seq: int = 0  # of its events
    actions: tuple[RunAction, ...] = ()  # what can be asked of it now
    spark: tuple[float, ...] = ()  # accuracy by round, at most 40 points


class RoundView(View):
    """One round; round 0 is the initial model."""

    server_round: int
    attempt: int = 1
    state: Literal["open", "collecting", "aggregating", "closed", "failed"]
    started_ts: float | None = None
    seconds: float = 0.0
    loss: float | None = None
    accuracy: float | None = None
    client_loss: Spread | None = None
    client_accuracy: Spread | None = None
    train_loss: float | None = None
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    capped: int = 0
    evaluations_accepted: int = 0
    evaluations_rejected: int = 0
    evaluations_late: int = 0
    bytes_received: int = 0
    collect_seconds: float = 0.0
    aggregate_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    checkpoint_seconds: float = 0.0
    kept_old_model: bool = False
    model_digest: str = ""
    epsilon: float | None = None


class UpdateView(View):
    """One client's part in one phase of a round: a bar of the Gantt, a line of the refusals."""

    server_round: int
    attempt: int
    phase: str
    client: str
    state: UpdateState
    ts: float  # when its state changed last
    asked_ts: float | None = None
    start_s: float = 0.0  # from the start of the round to the request
    seconds: float | None = None  # from the request to the reply
    compute_seconds: float | None = None
    reason: str = ""  # code of the refusal
    detail: str = ""
    num_examples: int | None = None
    num_bytes: int | None = None
    norm: float | None = None
    metrics: dict[str, float] = Field(default_factory=dict)


class ClientView(View):
    """One client over all rounds."""

    client: str
    state: Literal["idle", "training", "evaluating", "answered", "rejected", "late"]  # in the current round
    last_seen_ts: float | None = None
    num_examples: int | None = None
    histogram: tuple[int, ...] = ()
    asked: int = 0
    accepted: int = 0
    rejected: int = 0
    late: int = 0
    loss: float | None = None
    accuracy: float | None = None
    mean_seconds: float | None = None
    bytes_received: int = 0
    epsilon: float | None = None


class EventView(View):
    """One event, as the wire carries it: ``id`` counts over all runs, ``seq`` within its run."""

    id: int
    seq: int
    ts: float
    run: str
    type: str
    data: Json


class ModelView(View):
    """One model in the object store, or one that was only recorded (``size_bytes`` None)."""

    digest: str  # of the arrays: equal models are equal digests
    run_id: str
    server_round: int
    parent: str | None = None  # digest of the round before
    created_ts: float
    accuracy: float | None = None
    loss: float | None = None
    size_bytes: int | None = None


class NodeView(View):
    """One process that trains, with its last sample: the server, a worker, a client's machine."""

    node: str  # "server", "worker-1", or a client's id
    kind: Literal["server", "worker", "client"]
    host: str = ""
    state: NodeState
    last_seen_ts: float
    cpu_percent: float | None = None  # of one core
    rss_bytes: int | None = None
    memory_percent: float | None = None  # of the machine
    sent_bytes: int | None = None
    received_bytes: int | None = None
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None
    capabilities: Json = Field(default_factory=dict)


class PhaseNow(View):
    """What is under way right now."""

    server_round: int
    attempt: int
    phase: str
    started_ts: float
    asked: int
    answered: int
    updates: tuple[UpdateView, ...] = ()  # at most 200


class PartitionView(View):
    """How the data is spread."""

    class_names: tuple[str, ...]
    histograms: dict[str, tuple[int, ...]]  # client -> examples of each class, at most 200 clients
    num_clients: int


class Snapshot(View):
    """Everything the page of one run needs to begin with; events up to ``last_seq`` are in it."""

    run: RunView
    last_seq: int
    config: dict[str, Scalar]
    rounds: tuple[RoundView, ...]  # thinned to max_points, first and last kept
    num_rounds_known: int
    clients: tuple[ClientView, ...]  # at most 200, in natural order
    current: PhaseNow | None
    partition: PartitionView | None
    rejections: tuple[UpdateView, ...]  # the newest 50
    nodes: tuple[NodeView, ...]
    privacy: PrivacyView | None
    models: tuple[ModelView, ...]


class RunDelta(View):
    """What changed in a run since the last message to its room: parts that did not change are None or empty."""

    run: RunView
    last_seq: int
    rounds: tuple[RoundView, ...] = ()
    clients: tuple[ClientView, ...] = ()
    current: PhaseNow | None = None
    rejections: tuple[UpdateView, ...] = ()
    privacy: PrivacyView | None = None
    nodes: tuple[NodeView, ...] = ()
    partition: PartitionView | None = None
    models: tuple[ModelView, ...] = ()


class Series(View):
    """One line of a chart."""

    name: str
    client: str = ""
    points: tuple[tuple[float, float], ...]  # (x, value)


class Band(View):
    """The spread over clients: above 12 clients a band is readable where lines are not."""

    name: str
    points: tuple[tuple[float, float, float, float], ...]  # (round, p10, median, p90)


class MetricsView(View):
    """The lines of a run's charts."""

    run_id: str
    series: tuple[Series, ...]
    bands: tuple[Band, ...] = ()


class ChangedKey(View):
    """One setting in which compared runs differ, in the order of the runs; None where a run does not have it."""

    key: str
    values: tuple[Scalar | None, ...]


class Comparison(View):
    """Runs beside each other."""

    runs: tuple[RunView, ...]
    x: Literal["round", "time", "bytes"]
    changed: tuple[ChangedKey, ...]
    accuracy: tuple[Series, ...]  # ``name`` is the run's id
    loss: tuple[Series, ...]
