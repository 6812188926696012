"""A strategy goes on after its state was saved and restored as if nothing had happened: to the bit, for every name."""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np
import pytest
import safetensors.numpy
import torch
from flwr.app import ArrayRecord
from flwr.common import ndarrays_to_parameters
from flwr.server.strategy import FedAdam as LegacyFedAdam
from flwr.server.strategy import FedAvgM as LegacyFedAvgM
from flwr.serverapp.strategy import DifferentialPrivacyServerSideAdaptiveClipping, FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st

from app.strategies.aggregation_override import AggregationOverride
from app.strategies.catalog import FEDAVG_FAMILY, STRATEGIES, make_strategy
from app.strategies.custom_fedavg import CustomFedAvgStrategy
from app.strategies.legacy import LegacyStrategyAdapter
from app.strategies.state import StrategyState, capture_state, restore_state, why_not_resumable
from app.strategies.wrapper import StrategyWrapper
from shared.aggregation import AggregationResult
from shared.config import RunConfig
from shared.errors import CheckpointError


def momentum_rule(updates, num_examples, context, state):
    """The first client's delta with a momentum of a half."""
    moved = {name: update - context.base[name] for name, update in updates[0].items()}
    velocity = {name: 0.5 * state.get(name, np.float64(0)) + delta for name, delta in moved.items()}
    arrays = {name: np.asarray(context.base[name] + v).astype(np.float32) for name, v in velocity.items()}
    return AggregationResult(arrays=arrays), velocity


def legacy_fedavgm():
    start = ndarrays_to_parameters([np.zeros((2, 1, 2, 3), np.float32), np.ones(2, np.float32), np.float32(3)])
    legacy = LegacyFedAvgM(initial_parameters=start, server_momentum=0.9, server_learning_rate=0.5)
    return LegacyStrategyAdapter(legacy)


def legacy_fedadam():
    start = [np.zeros((2, 1, 2, 3), np.float32), np.ones(2, np.float32), np.float32(3)]
    return LegacyStrategyAdapter(LegacyFedAdam(initial_parameters=ndarrays_to_parameters(start)))


def named(name, **changes):
    return lambda: make_strategy(RunConfig(strategy=name, num_clients=5, **changes))


MAKERS = {
    **{name: named(name) for name in STRATEGIES},
    **{f"{name} with median": named(name, aggregation="median") for name in FEDAVG_FAMILY},
    "rule with momentum": lambda: AggregationOverride(FedAvg(), momentum_rule),
    "legacy fedavgm": legacy_fedavgm,
    "legacy fedadam": legacy_fedadam,
    "wrapped twice": lambda: StrategyWrapper(StrategyWrapper(make_strategy(RunConfig(strategy="fedyogi")))),
    "nothing changed": CustomFedAvgStrategy,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_the_round_after_a_restart_is_the_same_to_the_bit(make_federation, make):
    uninterrupted, stopped = make_federation(5), make_federation(5)
    whole = uninterrupted.play(make(), range(1, 5))

    first = make()
    stopped.play(first, range(1, 3))
    data = capture_state(first).to_bytes()
    second = make()
    restore_state(second, StrategyState.from_bytes(data))
    resumed = stopped.play(second, range(3, 5))
    for name, array in whole.items():
        assert resumed[name].dtype == array.dtype
        assert resumed[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_the_state_matters(make_federation, name):
    """The test above could not fail if these strategies had no memory."""
    whole = make_federation(5).play(named(name)(), range(1, 4))
    stopped = make_federation(5)
    stopped.play(named(name)(), range(1, 3))
    forgetful = stopped.play(named(name)(), range(3, 4))
    assert any(not np.array_equal(forgetful[key], whole[key]) for key in whole)


def test_saving_copies_and_does_not_disturb(federation):
    strategy = named("fedavgm")()
    federation.play(strategy, [1])
    state = capture_state(strategy)
    before = state.to_bytes()
    federation.play(strategy, [2])
    assert state.to_bytes() == before
    fresh = named("fedavgm")()
    restore_state(fresh, state)
    assert capture_state(fresh).to_bytes() == before


def test_equal_states_are_equal_bytes(make_federation):
    states = []
    for _ in range(2):
        strategy = named("fedadam")()
        make_federation(5).play(strategy, [1, 2])
        states.append(capture_state(strategy).to_bytes())
    assert states[0] == states[1]


def test_flowers_own_wrapper_and_what_it_wraps_are_saved():
    def make():
        return DifferentialPrivacyServerSideAdaptiveClipping(FedAvg(), noise_multiplier=0.1, num_sampled_clients=5)

    strategy = make()
    strategy.clipping_norm = 0.7
    strategy.strategy.fraction_train = 0.25
    fresh = make()
    restore_state(fresh, capture_state(strategy))
    assert (fresh.clipping_norm, fresh.strategy.fraction_train) == (0.7, 0.25)


class Remembering(FedAvg):
    """A stranger's strategy with all sorts of memory."""

    def __init__(self):
        super().__init__()
        self.best = None
        self.history = []
        self.by_client = defaultdict(list)
        self.recent = deque(maxlen=2)
        self.rng = np.random.default_rng(3)
        self.net = torch.nn.Linear(2, 1)
        self.on_done = print

    def live(self):
        self.best = 0.1 + 0.2
        self.history.append((1, {"loss": np.float32(0.1)}, None, float("inf")))
        self.by_client[101].append(7)
        self.recent.extend([1, 2, 3])
        self.rng.normal(size=5)
        self.seen = {3, 1, 2}
        with torch.no_grad():
            self.net.weight += 1


def test_a_strangers_attributes_are_saved(federation):
    strategy = Remembering()
    strategy.live()
    fresh = Remembering()
    restore_state(fresh, StrategyState.from_bytes(capture_state(strategy).to_bytes()))
    assert fresh.best == 0.1 + 0.2
    assert fresh.history == [(1, {"loss": np.float32(0.1)}, None, float("inf"))]
    assert type(fresh.history[0][1]["loss"]) is np.float32
    assert fresh.by_client == {101: [7]}
    assert fresh.by_client[102] == []  # still a defaultdict
    assert (list(fresh.recent), fresh.recent.maxlen) == ([2, 3], 2)
    assert fresh.rng.normal() == strategy.rng.normal()
    assert fresh.seen == {1, 2, 3}
    assert torch.equal(fresh.net.weight, strategy.net.weight)
    assert fresh.on_done is print


class Own(FedAvg):
    """Says itself what is saved."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.cache = object()
        self.momentum = np.zeros(2)

    def state_dict(self):
        return {"momentum": self.momentum}

    def load_state_dict(self, state):
        self.momentum = state["momentum"] * 1


class Counter:
    """An object of a type that nobody knows."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0


class Counting(FedAvg):
    def __init__(self):
        super().__init__()
        self.counter = Counter()


@dataclass(frozen=True)
class Settings:
    beta: float


class Configured(FedAvg):
    def __init__(self, beta):
        super().__init__()
        self.settings = Settings(beta)


def test_a_strategy_may_say_itself_what_is_saved():
    strategy = Own()
    strategy.momentum += 2.5
    strategy.cache = object()
    fresh = Own()
    restore_state(fresh, StrategyState.from_bytes(capture_state(strategy).to_bytes()))
    assert fresh.momentum.tolist() == [2.5, 2.5]


def test_the_state_of_a_wrapper_is_not_taken_for_that_of_what_it_wraps():
    """``StrategyWrapper`` hands on unknown attributes, ``state_dict`` among them."""
    wrapper = StrategyWrapper(Own())
    wrapper.inner.momentum += 1
    wrapper.note = "kept"
    fresh = StrategyWrapper(Own())
    restore_state(fresh, capture_state(wrapper))
    assert vars(fresh)["note"] == "kept"
    assert fresh.inner.momentum.tolist() == [1.0, 1.0]


def test_an_unknown_object_that_never_changes_is_no_obstacle():
    restore_state(Counting(), capture_state(Counting()))


def test_an_unknown_object_that_changed_refuses_resume_with_a_sentence():
    strategy = Counting()
    built = capture_state(strategy)
    assert why_not_resumable(built, capture_state(strategy)) is None
    strategy.counter.count += 1
    now = capture_state(strategy)
    sentence = (
        r"strategy .*Counting cannot be resumed: its attribute counter \(.*Counter\) has changed .* state_dict\(\)"
    )
    problem = why_not_resumable(built, now)
    assert problem is not None
    with pytest.raises(CheckpointError, match=sentence) as caught:
        restore_state(Counting(), now)
    assert str(caught.value) == problem


def test_an_unknown_object_that_appears_in_the_run_refuses_resume():
    strategy = Counting()
    strategy.late = Counter()
    with pytest.raises(CheckpointError, match="its attribute late"):
        restore_state(Counting(), capture_state(strategy))


def test_settings_that_cannot_change_are_those_of_the_new_strategy():
    fresh = Configured(0.5)
    restore_state(fresh, capture_state(Configured(0.25)))
    assert fresh.settings.beta == 0.5


def test_another_strategy_is_refused_and_nothing_is_changed():
    state = capture_state(named("fedavgm")())
    fresh = named("fedadam")()
    before = capture_state(fresh).to_bytes()
    with pytest.raises(CheckpointError, match=r"written with strategy .*FedAvgM, but this run uses .*FedAdam; resume"):
        restore_state(fresh, state)
    with pytest.raises(
        CheckpointError, match=r"written with strategy .*FedAvgM, but this run uses .* around .*FedAvgM"
    ):
        restore_state(StrategyWrapper(named("fedavgm")()), state)
    assert capture_state(fresh).to_bytes() == before


def test_a_state_dict_that_cannot_be_written_is_named():
    class Bad(Own):
        def state_dict(self):
            return {"lock": self.lock}

    with pytest.raises(CheckpointError, match=r"state_dict\(\) of .*Bad cannot be saved: it holds a _thread\.lock"):
        capture_state(Bad())


def good_bytes(federation):
    strategy = named("fedavgm")()
    federation.play(strategy, [1, 2])
    return capture_state(strategy).to_bytes()


def with_layout(data, change):
    arrays = safetensors.numpy.load(data)
    document = json.loads(arrays["layout"].tobytes())
    change(document, arrays)
    arrays["layout"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    return safetensors.numpy.save(arrays)


def deep(document, _arrays):
    node: object = 1
    for _ in range(200):
        node = ["list", [node]]
    document["layers"][0][2]["momentum_vector"] = node


def set_node(node):
    return lambda document, _arrays: document["layers"][0][2].update(momentum_vector=node)


HOSTILE = {
    "another format": lambda document, _: document.update(format="v0"),
    "no layers": lambda document, _: document.pop("layers"),
    "short layer": lambda document, _: document["layers"][0].pop(),
    "attributes no mapping": lambda document, _: document["layers"][0].__setitem__(2, [1]),
    "missing array": lambda _, arrays: arrays.pop("0"),
    "deep": deep,
    "unknown tag": set_node(["os.system", "ls"]),
    "untagged": set_node([[1, 2]]),
    "object": set_node({"a": 1}),
    "array without name": set_node(["array"]),
    "array by number": set_node(["array", 0]),
    "generator of anything": set_node(["generator", ["dict", [["bit_generator", "os"]]]]),
    "unhashable key": set_node(["dict", [[["list", []], 1]]]),
    "a pair of three": set_node(["dict", [[1, 2, 3]]]),
    "float of words": set_node(["float", "ten"]),
    "deque of length -1": set_node(["deque", -1, []]),
    "random of nothing": set_node(["random", ["tuple", []]]),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_damaged_or_hostile_layout_is_refused(federation, change):
    with pytest.raises(CheckpointError, match="the strategy's state in the checkpoint is damaged"):
        StrategyState.from_bytes(with_layout(good_bytes(federation), change))


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 64, b"\x80\x04\x95", b"{}"])
def test_bytes_that_are_no_state_are_refused(data):
    with pytest.raises(CheckpointError, match="damaged"):
        StrategyState.from_bytes(data)


def test_every_truncation_is_refused(federation):
    data = good_bytes(federation)
    for length in range(0, len(data), 37):
        with pytest.raises(CheckpointError):
            StrategyState.from_bytes(data[:length])


@settings(deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bits_are_refused_or_read_but_never_raise_anything_else(where, bit):
    strategy = named("fedavgm")()
    strategy.momentum_vector = [np.arange(4, dtype=np.float32)]
    data = bytearray(capture_state(strategy).to_bytes())
    data[int(where * len(data))] ^= 1 << bit
    try:
        state = StrategyState.from_bytes(bytes(data))
        restore_state(named("fedavgm")(), state)
    except CheckpointError:
        pass


def test_array_records_come_back_as_records(federation):
    strategy = named("fedavgm")()
    federation.play(strategy, [1])
    fresh = named("fedavgm")()
    restore_state(fresh, capture_state(strategy))
    assert isinstance(fresh.current_arrays, ArrayRecord)
    assert list(fresh.current_arrays) == list(strategy.current_arrays)
