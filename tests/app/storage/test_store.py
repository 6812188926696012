"""What a page asks: states with their reasons, pages of lists, and what is new since the last look."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from app.storage.store import Store
from app.storage.values import RunSource
from app.storage.views import RunView
from shared.errors import Conflict, NotFound, StoreError
from tests.recorded_events import recorded_run

SOURCE = RunSource(run_dir="/runs/r1", pid=7, create_time=5.0, host="here", origin="terminal")
CONFIG = {"dataset": "mnist-sample", "num-rounds": 3, "num-clients": 2, "alpha": 0.5, "signatures": True}


class Reporter:
    """Sends one event after another."""

    def __init__(self, store: Store, run: str = "r1") -> None:
        self.store, self.run, self.seq = store, run, 0

    def __call__(self, kind: str, **fields: Any) -> RunView:
        self.seq += 1
        named = {key.replace("_", "-"): value for key, value in fields.items()}
        row = {"seq": self.seq, "ts": 1_700_000_000.0 + self.seq, "run": self.run, "type": kind, **named}
        self.store.ingest(self.run, [row], SOURCE)
        return self.store.run(self.run)

    def start(self) -> RunView:
        return self("run-started", config=CONFIG, first_round=1, clients=["a", "b"], num_clients=2)


@pytest.fixture
def report(store: Store) -> Reporter:
    return Reporter(store)


def told(run: RunView) -> tuple[str, str, str]:
    return run.state, run.phase, run.reason


def test_a_run_always_says_what_it_does_and_why_it_waits(report: Reporter) -> None:
    assert told(report.start()) == ("running", "", "prepares the first round")
    waiting = report("run-waiting", reason="waiting for clients 1/2")
    assert told(waiting) == ("running", "", "waiting for clients 1/2")
    assert told(report("run-resumed")) == ("running", "", "prepares the first round")
    assert told(report("round-started", server_round=1, attempt=1)) == ("running", "", "round 1: between two phases")
    asked = report("phase-started", server_round=1, phase="train", clients=["a", "b"])
    assert told(asked) == ("running", "train", "train: 0 of 2 clients answered")
    one = report("update-received", server_round=1, phase="train", client="a", seconds=1.0)
    assert told(one) == ("running", "train", "train: 1 of 2 clients answered")
    both = report("update-late", server_round=1, phase="train", client="b", seconds=9.0)
    assert told(both) == ("running", "aggregate", "train: all answered; the server checks and aggregates")
    ended = report("phase-ended", server_round=1, phase="train")
    assert told(ended) == ("running", "", "round 1: between two phases")
    assert told(report("run-paused")) == ("paused", "", "paused in round 1")
    assert told(report("run-resumed")) == ("running", "", "round 1: between two phases")
    assert told(report("round-closed", server_round=1, seconds=2.0)) == ("running", "", "round 1 is over")
    completed = report("run-ended", state="completed", seconds=9.0)
    assert told(completed) == ("completed", "", "all 3 rounds are done")


def test_a_failed_run_says_why(report: Reporter) -> None:
    report.start()
    failed = report("run-ended", state="failed", seconds=1.0, error="no client is left")
    assert (failed.state, failed.reason, failed.error) == ("failed", "no client is left", "no client is left")


def test_states_and_actions_of_a_run_that_is_steered(store: Store, report: Reporter) -> None:
    queued = store.create_run("r1", CONFIG, name="first", origin="dashboard", run_dir="/runs/r1")
    assert (queued.state, queued.reason, queued.actions) == ("queued", "waits for its turn to start", ("pause", "stop"))
    held = store.set_run("r1", desired_state="pause")
    assert (held.reason, held.actions) == ("not started yet", ("start", "stop"))
    starting = store.set_run("r1", state="starting", desired_state="run", pid=7, create_time=5.0)
    assert (starting.reason, starting.actions) == ("the training process starts", ("pause", "stop"))
    assert report.start().actions == ("pause", "stop")
    pausing = store.set_run("r1", desired_state="pause")
    assert (pausing.reason, pausing.actions) == (
        "pauses after this phase; prepares the first round",
        ("resume", "stop"),
    )
    assert report("run-paused").actions == ("resume", "stop")
    store.set_run("r1", desired_state="run")
    report("run-resumed")
    stopping = store.set_run("r1", state="stopping", desired_state="stop")
    assert (stopping.reason, stopping.actions) == ("stops: prepares the first round", ())
    assert report("round-started", server_round=1, attempt=1).state == "stopping"
    assert report("run-paused").state == "stopping"
    stopped = report("run-ended", state="stopped", seconds=3.0)
    assert (stopped.state, stopped.reason, stopped.actions) == ("stopped", "stopped after round 0", ("resume",))
    again = report("run-started", config=CONFIG, first_round=1, clients=[])
    assert (again.state, again.desired_state, again.ended_ts) == ("running", "run", None)


def test_a_late_end_wins_over_a_guess_and_other_late_events_do_not(store: Store, report: Reporter) -> None:
    report.start()
    guessed = store.set_run("r1", state="interrupted")
    assert (guessed.state, guessed.actions) == ("interrupted", ("resume",))
    assert "can be resumed" in guessed.reason
    assert report("run-paused").state == "interrupted"
    assert report("run-ended", state="completed", seconds=3.0).state == "completed"


def test_a_new_state_clears_the_reason_of_the_old_one(store: Store) -> None:
    store.create_run("r1", CONFIG)
    assert store.set_run("r1", reason="waits for run r0").reason == "waits for run r0"
    assert store.set_run("r1", state="starting").reason == "the training process starts"


def test_an_open_round_of_a_run_that_is_over_has_failed(store: Store, report: Reporter) -> None:
    report.start()
    report("round-started", server_round=1, attempt=1)
    report("phase-started", server_round=1, phase="train", clients=["a"])
    assert store.round("r1", 1).state == "collecting"
    store.set_run("r1", state="interrupted")
    assert store.round("r1", 1).state == "failed"
    snapshot = store.snapshot("r1")
    assert snapshot.current is None
    assert {client.state for client in snapshot.clients} == {"idle"}


def test_a_run_cannot_be_made_twice_nor_put_in_a_state_that_is_none(store: Store) -> None:
    store.create_run("r1", CONFIG)
    with pytest.raises(Conflict, match="r1"):
        store.create_run("r1", CONFIG)
    with pytest.raises(StoreError, match="no state"):
        store.set_run("r1", state="flying")
    with pytest.raises(NotFound):
        store.set_run("r2", state="running")


def test_a_run_that_was_made_here_takes_its_events(store: Store, report: Reporter) -> None:
    made = store.create_run("r1", CONFIG, name="mine", origin="dashboard", run_dir="/runs/r1")
    report.start()
    run = store.run("r1")
    assert (run.name, run.origin, run.created_ts) == ("mine", "dashboard", made.created_ts)
    assert store.config("r1") == CONFIG
    assert list(store.config("r1")) == list(CONFIG)


def test_living_runs_name_their_processes(store: Store, report: Reporter) -> None:
    report.start()
    store.create_run("r2", CONFIG)
    (process,) = store.living_runs()
    assert (process.run_id, process.pid, process.create_time, process.host) == ("r1", 7, 5.0, "here")
    assert process.run_dir == "/runs/r1"
    report("run-ended", state="completed", seconds=1.0)
    assert store.living_runs() == ()


def test_an_import_does_not_take_a_run_from_its_process(store: Store, report: Reporter) -> None:
    report.start()
    row = {"seq": 2, "ts": 1e9, "run": "r1", "type": "run-paused"}
    store.ingest("r1", [row], RunSource(run_dir="/elsewhere", pid=99, create_time=1.0, origin="import"))
    assert store.living_runs()[0].pid == 7


def test_ingest_tells_what_was_new(store: Store) -> None:
    rows = recorded_run("r1", num_clients=2, num_rounds=1)
    first = store.ingest("r1", rows[:4], RunSource(origin="import"))
    assert (first.is_new_run, first.last_seq, [event.seq for event in first.events]) == (True, 4, [1, 2, 3, 4])
    again = store.ingest("r1", rows[:4], RunSource())
    assert (again.is_new_run, again.last_seq, again.events) == (False, 4, ())
    more = store.ingest("r1", rows[2:6], RunSource())
    assert [event.seq for event in more.events] == [5, 6]
    assert more.events == store.events(after=first.events[-1].id)
    assert more.events[0].data == {
        key: value for key, value in rows[4].items() if key not in ("seq", "ts", "run", "type")
    }
    assert store.run("r1").origin == "import"


def test_the_time_left_follows_from_the_last_rounds(store: Store, report: Reporter) -> None:
    report.start()
    assert store.run("r1").eta_seconds is None
    report("round-started", server_round=1, attempt=1)
    closed = report("round-closed", server_round=1, seconds=10.0)
    assert closed.eta_seconds == 20.0  # two rounds to go, none under way
    report("round-started", server_round=2, attempt=1)
    # The store's clock is far ahead of the events', so round 2 has taken longer than usual: one more to go.
    assert store.run("r1").eta_seconds == 10.0


def pages(ask: Callable[[str | None], Any]) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = ask(cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_pages_join_to_the_whole_list(store: Store) -> None:
    rows = recorded_run("r1", num_clients=12, num_rounds=4, rejected=0.3, late=0.2)
    store.ingest("r1", rows, RunSource())
    assert [view.server_round for view in pages(lambda c: store.rounds("r1", limit=2, cursor=c))] == [0, 1, 2, 3, 4]
    names = [view.client for view in pages(lambda c: store.clients("r1", limit=5, cursor=c))]
    assert names == [f"client-{index}" for index in range(12)]  # client-2 before client-10
    updates = pages(lambda c: store.updates("r1", limit=7, cursor=c))
    assert len(updates) == 12 * 4 * 2 == len({(view.server_round, view.phase, view.client) for view in updates})
    assert [view.server_round for view in updates] == sorted((view.server_round for view in updates), reverse=True)
    refused = pages(lambda c: store.updates("r1", state="rejected", limit=3, cursor=c))
    told = [row for row in rows if row["type"] == "update-rejected"]
    assert [(view.client, view.reason) for view in reversed(refused)] == [
        (row["client"], row["reason"]) for row in told
    ]
    models = pages(lambda c: store.models("r1", limit=3, cursor=c))
    assert [view.server_round for view in models] == [4, 3, 2, 1]


def test_a_list_stays_in_step_while_rows_are_added(store: Store) -> None:
    rows = recorded_run("r1", num_clients=5, num_rounds=4, rejected=0.0, late=0.0)
    half = len(rows) // 2
    store.ingest("r1", rows[:half], RunSource())
    first = store.updates("r1", limit=6)
    known = pages(lambda c: store.updates("r1", limit=100, cursor=c))
    store.ingest("r1", rows[half:], RunSource())
    rest = pages(lambda c: store.updates("r1", limit=6, cursor=c or first.next_cursor))
    places = [(view.server_round, view.phase, view.client) for view in (*first.items, *rest)]
    assert places == [(view.server_round, view.phase, view.client) for view in known]


def test_updates_can_be_asked_for_by_what_they_are(store: Store) -> None:
    store.ingest("r1", recorded_run("r1", num_clients=6, num_rounds=3, rejected=0.2, late=0.2, seed=4), RunSource())
    everything = store.updates("r1", limit=1000).items
    for key, value in (("state", "late"), ("state", "accepted"), ("client", "client-3"), ("phase", "evaluate")):
        wanted = [view for view in everything if getattr(view, key) == value]
        assert list(store.updates("r1", limit=1000, **{key: value}).items) == wanted  # type: ignore[arg-type]
        assert wanted
    assert [view for view in everything if view.server_round == 2] == list(
        store.updates("r1", server_round=2, limit=1000).items
    )
    reason = store.updates("r1", state="rejected").items[0].reason
    assert {view.reason for view in store.updates("r1", reason=reason).items} == {reason}


@pytest.mark.parametrize("sort", ["created", "-created", "name", "-accuracy", "loss", "-rounds", "state", "-epsilon"])
def test_runs_are_sorted_and_paged(store: Store, sort: str) -> None:
    for index in range(7):
        rows = recorded_run(
            f"r{index}", num_clients=1, num_rounds=index % 3, seed=index, start=1e9 + index % 4, central=index % 2 == 0
        )
        store.ingest(f"r{index}", rows, RunSource())
    store.create_run("r-queued", {}, name="zoo")
    whole = store.runs(sort=sort).items
    assert len(whole) == 8
    assert [run.run_id for run in pages(lambda c: store.runs(sort=sort, limit=3, cursor=c))] == [
        run.run_id for run in whole
    ]
    field = {"created": "created_ts", "rounds": "rounds_completed"}.get(sort.strip("-"), sort.strip("-"))
    values = [-1.0 if (value := getattr(run, field)) is None else value for run in whole]
    assert values == sorted(values, reverse=sort.startswith("-"))


def test_runs_are_found_by_state_and_by_words(store: Store) -> None:
    store.ingest("first", recorded_run("first", num_clients=1, num_rounds=1), RunSource())
    store.create_run("second", {"dataset": "cifar10"}, name="100%_Sure")
    assert [run.run_id for run in store.runs(state="completed").items] == ["first"]
    assert [run.run_id for run in store.runs(query="CIFAR").items] == ["second"]
    assert [run.run_id for run in store.runs(query="100%_sure").items] == ["second"]
    assert store.runs(query="%").items[0].run_id == "second"  # a percent sign is a percent sign
    assert len(store.runs(query="%").items) == 1


def merged(before: Any, delta: Any) -> dict[str, Any]:
    """What a page has after it took in a delta."""
    rounds = {view.server_round: view for view in before.rounds} | {view.server_round: view for view in delta.rounds}
    clients = {view.client: view for view in before.clients} | {view.client: view for view in delta.clients}
    return {
        "run": delta.run,
        "rounds": {number: view for number, view in rounds.items() if number <= max(delta.run.current_round, 0)},
        "clients": clients,
        "partition": delta.partition or before.partition,
        "privacy": delta.privacy or before.privacy,
        "rejections": (*delta.rejections, *before.rejections)[:50],
        "models": sorted(
            {view.server_round: view for view in (*before.models, *delta.models)}.items(), reverse=True
        ),
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 13, 40])
def test_a_snapshot_and_the_deltas_after_it_are_the_snapshot_of_later(
    new_store: Callable[[], Store], size: int
) -> None:
    rows = recorded_run("r1", num_clients=3, num_rounds=3, rejected=0.2, late=0.2, seed=6)
    store = new_store()
    store.ingest("r1", rows[:10], RunSource())
    for start in range(10, len(rows), size):
        before = store.snapshot("r1")
        store.ingest("r1", rows[start : start + size], RunSource())
        delta, after = store.delta("r1", before.last_seq), store.snapshot("r1")
        page = merged(before, delta)
        assert page["run"] == after.run
        assert page["rounds"] == {view.server_round: view for view in after.rounds}
        states = {view.client: view.state for view in after.clients}
        for view in page["clients"].values():  # who did nothing since is idle once the round changes
            assert view.model_copy(update={"state": states[view.client]}) in after.clients
        assert (page["partition"], page["privacy"]) == (after.partition, after.privacy)
        assert page["rejections"] == after.rejections
        assert [view for _, view in page["models"]] == list(after.models)
        if after.current is not None and delta.current is not None:
            shown = {view.client: view for view in before.current.updates} if before.current else {}
            shown |= {view.client: view for view in delta.current.updates}
            assert {view.client: view for view in after.current.updates}.items() <= shown.items()
    nothing = store.delta("r1", len(rows))
    assert (nothing.rounds, nothing.clients, nothing.rejections, nothing.models) == ((), (), (), ())
    assert (nothing.partition, nothing.privacy, nothing.current) == (None, None, None)


def test_the_gantt_of_a_round_has_a_bar_for_each_client(store: Store, report: Reporter) -> None:
    report.start()
    report("round-started", server_round=1, attempt=1)
    report("phase-started", server_round=1, phase="train", clients=["b", "a"])
    report(
        "update-received", server_round=1, phase="train", client="a", seconds=1.5, compute_seconds=1.0, num_bytes=100
    )
    b, a = store.round_updates("r1", 1)
    assert (b.client, b.state, b.start_s, b.seconds) == ("b", "waiting", 1.0, None)
    assert (a.state, a.start_s, a.seconds, a.compute_seconds, a.num_bytes) == ("received", 1.0, 1.5, 1.0, 100)
    current = store.snapshot("r1").current
    assert current is not None
    assert (current.asked, current.answered, [view.client for view in current.updates]) == (2, 1, ["a", "b"])


def test_the_newest_word_on_privacy_is_the_runs(store: Store, report: Reporter) -> None:
    spent = {
        "unit": "example", "epsilon": 1, "epsilon_median": 0.5, "delta": 1e-5, "accountant": "prv",
        "noise_multiplier": 1.1, "max_grad_norm": 1.0, "sample_rate": 0.1, "steps": 10, "sampler": "poisson",
        "num_clients": 2, "exhausted_clients": 0, "warning": "", "by_client": {"a": 1, "b": 0.5},
    }  # fmt: skip
    report.start()
    report("round-started", server_round=1, attempt=1)
    report("privacy-spent", server_round=1, **spent)
    run = report("privacy-spent", server_round=1, **spent | {"epsilon": 2.0, "by_client": {"a": 2.0, "b": 0.75}})
    assert (run.epsilon, run.delta, run.epsilon_unit) == (2.0, 1e-5, "example")
    assert store.round("r1", 1).epsilon == 2.0
    privacy = store.snapshot("r1").privacy
    assert privacy is not None
    assert (privacy.epsilon, privacy.epsilon_median, privacy.steps, privacy.target_epsilon) == (2.0, 0.5, 10, None)
    assert privacy.by_client == {"a": 2.0, "b": 0.75}
    assert [view.epsilon for view in store.clients("r1").items] == [2.0, 0.75]


def test_settings_are_kept(store: Store) -> None:
    store.set_setting("current-config", {"num-rounds": 3, "name": "é\0"})
    store.set_setting("current-config", {"num-rounds": 4, "name": "é\0"})
    assert store.settings == {"current-config": {"num-rounds": 4, "name": "é\0"}}
    with pytest.raises(StoreError):
        store.set_setting("x", float("nan"))


def test_every_answer_is_json_without_complaint(store: Store) -> None:
    store.ingest("r1", recorded_run("r1", num_clients=11, num_rounds=2, rejected=0.2), RunSource())
    for answer in (
        store.run("r1"), store.snapshot("r1"), store.delta("r1", 3), store.metrics("r1"), store.compare(["r1"], "time"),
        *store.events(limit=1000),
    ):  # fmt: skip
        type(answer).model_validate_json(answer.model_dump_json())  # warnings are errors here
