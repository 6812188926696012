from monitor.live import LiveState
from shared.events import (
    ClientsEvaluated,
    Envelope,
    Event,
    ModelEvaluated,
    PhaseEnded,
    PhaseStarted,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunPaused,
    RunResumed,
    RunStarted,
    RunWaiting,
    UpdateAccepted,
    UpdateLate,
    UpdateReceived,
    UpdateRejected,
)


def started(num_clients: int = 3, num_rounds: int = 4) -> RunStarted:
    return RunStarted(
        config={"num-rounds": num_rounds},
        first_round=1,
        clients=[f"client-{i}" for i in range(num_clients)],
        num_clients=num_clients,
        num_parameters=10,
        workers=2,
    )


def accepted(client: str, phase: str = "train", **metrics: float) -> UpdateAccepted:
    return UpdateAccepted(server_round=1, phase=phase, client=client, num_examples=80, metrics=metrics)


def rejected(client: str, phase: str = "train") -> UpdateRejected:
    return UpdateRejected(
        server_round=1, phase=phase, client=client, node_id="7", reason="bad-signature", detail="no match"
    )


def received(client: str, seconds: float = 1.0) -> UpdateReceived:
    return UpdateReceived(server_round=1, phase="train", client=client, node_id="7", seconds=seconds)


def late(client: str, phase: str = "train") -> UpdateLate:
    return UpdateLate(server_round=1, phase=phase, client=client, seconds=9.0)


def phase(name: str, *clients: str) -> PhaseStarted:
    return PhaseStarted(server_round=1, phase=name, clients=list(clients))


def state_after(*events: Event) -> LiveState:
    state = LiveState()
    for seq, event in enumerate(events, 1):
        state.take(Envelope(seq=seq, ts=100.0 + seq, run="r1", event=event))
    return state


def test_each_client_shows_where_it_stands() -> None:
    state = state_after(
        started(5),
        RoundStarted(server_round=1, attempt=1),
        phase("train", "client-0", "client-1", "client-2", "client-3"),
        received("client-1"),
        received("client-2"),
        rejected("client-2"),
        late("client-3"),
    )
    shown = {name: line.state for name, line in state.clients.items()}
    assert shown == {
        "client-0": "training",
        "client-1": "received",
        "client-2": "rejected",
        "client-3": "late",
        "client-4": "idle",
    }
    assert (state.progress.replied, state.progress.asked) == (2, 4)


def test_a_refused_update_stays_visible_while_the_same_client_evaluates() -> None:
    events = [
        started(2),
        RoundStarted(server_round=1, attempt=1),
        phase("train", "client-0", "client-1"),
        rejected("client-0"),
        accepted("client-1", loss=0.5),
        phase("evaluate", "client-0", "client-1"),
        received("client-0"),
        accepted("client-0", "evaluate", accuracy=0.9),
    ]
    line = state_after(*events).clients["client-0"]
    assert (line.state, line.accuracy) == ("rejected", 0.9)
    assert state_after(*events, RoundStarted(server_round=2, attempt=1)).clients["client-0"].state == "idle"


def test_counts_are_of_updates_and_refused_evaluations_stand_apart() -> None:
    state = state_after(
        started(2),
        accepted("client-0"),
        accepted("client-0", "evaluate"),
        rejected("client-1"),
        rejected("client-1", "evaluate"),
        late("client-1"),
        late("client-1", "evaluate"),
    )
    assert (state.accepted, state.rejected, state.late, state.evaluations_refused) == (1, 1, 1, 1)
    line = state.clients["client-1"]
    assert (line.accepted, line.rejected, line.late) == (0, 1, 1)


def test_a_reply_from_nobody_we_asked_makes_no_line() -> None:
    state = state_after(started(1), received(""), rejected(""))
    assert list(state.clients) == ["client-0"]
    assert state.rejected == 1


def test_the_central_test_wins_over_the_clients_mean() -> None:
    by_clients = ClientsEvaluated(
        server_round=1, mean={"accuracy": 0.5}, deviation={}, minimum={}, maximum={}, num_clients=2
    )
    central = ModelEvaluated(server_round=1, metrics={"accuracy": 0.8, "loss": 0.3}, seconds=0.1)
    assert list(state_after(started(), by_clients).accuracies) == [0.5]
    assert list(state_after(started(), by_clients, central, by_clients).accuracies) == [0.8]
    assert list(state_after(started(), central).losses) == [0.3]


def test_time_left_is_the_median_round_times_the_rounds_to_go() -> None:
    events: list[Event] = [started(num_rounds=6)]
    for number, seconds in ((1, 2.0), (2, 100.0), (3, 4.0)):
        events += [
            RoundStarted(server_round=number, attempt=1),
            RoundClosed(server_round=number, seconds=seconds, model_digest="", checkpoint_seconds=0.0),
        ]
    state = state_after(*events)
    assert state.seconds_left(now=107.0) == 3 * 4.0
    state.take(Envelope(seq=9, ts=200.0, run="r1", event=RoundStarted(server_round=4, attempt=1)))
    assert state.seconds_left(now=201.0) == 3 * 4.0 - 1.0
    assert state.seconds_left(now=900.0) == 2 * 4.0
    assert state_after(started()).seconds_left(now=500.0) is None


def test_more_clients_than_lines_shows_the_troubled_ones_in_their_own_order() -> None:
    names = [f"client-{i}" for i in range(100)]
    state = state_after(
        started(100),
        RoundStarted(server_round=1, attempt=1),
        phase("train", *names[:50]),
        *[received(name, seconds=float(i)) for i, name in enumerate(names[:50])],
        *[accepted(name) for name in names[:50] if name not in ("client-9", "client-3")],
        rejected("client-9"),
        late("client-3"),
    )
    assert [line.name for line in state.most_interesting(4)] == ["client-3", "client-9", "client-48", "client-49"]
    assert len(state.most_interesting(200)) == 100


def test_waiting_and_pausing_are_said_until_they_are_over() -> None:
    assert state_after(started(), RunWaiting(reason="waiting for clients 1/2")).message == "waiting for clients 1/2"
    assert state_after(started(), RunPaused()).message == "paused"
    assert state_after(started(), RunPaused(), RunResumed()).message == ""
    assert state_after(started(), RunWaiting(reason="x"), phase("train")).message == ""


def test_a_round_that_kept_the_old_model_says_so() -> None:
    ended = PhaseEnded(
        server_round=1, phase="train", accepted=0, rejected=3, late=0, collect_seconds=1.0, aggregate_seconds=0.0,
        kept_old_model=True, metrics={},
    )  # fmt: skip
    assert state_after(started(), RoundStarted(server_round=1, attempt=1), ended).kept_old_model


def test_a_resumed_run_counts_from_its_first_round() -> None:
    resumed = RunStarted(
        config={"num-rounds": 9}, first_round=4, clients=[], num_clients=2, num_parameters=1, workers=1
    )
    assert state_after(resumed).rounds_closed == 3
    ended = RunEnded(state="completed", rounds_completed=9, seconds=4.0)
    assert state_after(resumed, ended).ended == ended
