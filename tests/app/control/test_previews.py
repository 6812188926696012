"""Previews: drawn by the run's own code in a process of its own, bounded in time and number, kept by what was asked."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.control.preview_worker import PreviewWorker
from app.control.previews import Previews
from constellation.names import client_id_of
from constellation.preview import answer_to
from shared.config import from_mapping
from shared.datasets.federated import federate
from shared.errors import ConfigError, DatasetError, PluginError, PreviewFailed

ECHO = """
import json, os, sys
for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({"answer": {"pid": os.getpid(), "asked": question}}), flush=True)
"""


def worker(code: str, **changes: float) -> PreviewWorker:
    return PreviewWorker([sys.executable, "-c", code], **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def previews() -> Iterator[Previews]:
    made = Previews()
    yield made
    made.close()


@pytest.mark.parametrize(
    "config",
    [
        {"num-clients": 7, "alpha": 0.1, "seed": 3},
        {"partition": "shard", "num-clients": 5},
        {"dataset": "synthetic", "num-examples": 500, "partition": "iid"},
    ],
)
def test_the_partition_is_the_one_the_run_will_have(previews: Previews, config: dict[str, object]) -> None:
    shown = previews.partition(config)
    data = federate(from_mapping(config, where="test"))
    sizes = sorted(data.num_examples(index) for index in range(data.num_clients))
    assert shown.histograms == {client_id_of(index): tuple(data.histogram(index)) for index in range(data.num_clients)}
    assert (shown.smallest, shown.largest, shown.num_examples) == (sizes[0], sizes[-1], sum(sizes))
    assert shown.class_names == data.class_names


def test_more_clients_than_are_shown_are_counted(previews: Previews) -> None:
    shown = previews.partition({"num-clients": 300, "partition": "iid"})
    assert (len(shown.histograms), shown.num_clients) == (200, 300)


def test_settings_that_cannot_be_are_refused_in_the_words_of_a_run(previews: Previews) -> None:
    with pytest.raises(ConfigError, match="num-clients must be at least 1, got 0"):
        previews.partition({"num-clients": 0})
    with pytest.raises(DatasetError, match="num-clients 9000 is more than the 8000 training examples"):
        previews.partition({"num-clients": 9000})
    with pytest.raises(PluginError, match="importing 'nowhere' failed"):
        previews.partition({"dataset": "nowhere:load"})
    with pytest.raises(DatasetError, match="nothing"):
        previews.partition({"dataset": "npz:/nothing.npz"})


def test_an_estimate_is_the_accountants(previews: Previews) -> None:
    from shared.privacy.accounting import estimate_privacy

    query = {"num_examples": 1000, "batch_size": 50, "local_epochs": 1, "num_rounds": 4, "noise_multiplier": 1.1}
    shown = previews.epsilon(query)
    expected = estimate_privacy(**query)  # type: ignore[arg-type]
    assert (shown.epsilon, shown.steps, shown.by_round) == (expected.epsilon, expected.steps, expected.by_round)
    assert shown.by_round[-1] == (4, shown.epsilon)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"num_examples": "many"}, "num-examples must be a number"),
        ({"num_examples": 1.5}, "num-examples must be a whole number"),
        ({"num_examples": True}, "num-examples must be a number"),
    ],
)
def test_a_query_of_another_type_is_refused(previews: Previews, query: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        previews.epsilon(query)


def test_what_was_asked_before_is_not_computed_again(tmp_path: Path) -> None:
    code = (
        f"import sys\nfor line in sys.stdin:\n    open({str(tmp_path / 'count')!r}, 'a').write('x')\n"
        f"    print({json.dumps(json.dumps(ANSWER))}, flush=True)"
    )
    previews = Previews(lambda: worker(code))
    first = previews.partition({"num-clients": 2})
    assert previews.partition({"num-clients": 2, "num-rounds": 77}) == first  # rounds do not change the split
    assert (tmp_path / "count").read_text() == "x"
    previews.partition({"num-clients": 3})
    previews.partition({"dataset": "npz:x.npz"})  # a person's own file may have changed
    previews.partition({"dataset": "npz:x.npz"})
    assert (tmp_path / "count").read_text() == "xxxx"
    previews.close()


ANSWER = {
    "answer": {
        "class_names": ["a"], "histograms": {"client-0": [1]}, "num_examples": 1, "num_clients": 1, "smallest": 1,
        "median": 1, "largest": 1,
    }
}  # fmt: skip


def test_one_process_answers_until_it_is_idle() -> None:
    now = [0.0]
    asked = PreviewWorker([sys.executable, "-c", ECHO], idle_s=60.0, clock=lambda: now[0])
    first = asked.ask({"a": 1})
    assert first["asked"] == {"a": 1}
    now[0] = 59.0
    asked.tick()
    assert asked.ask({})["pid"] == first["pid"]
    now[0] = 200.0
    asked.tick()
    again = asked.ask({})
    assert again["pid"] != first["pid"]
    assert asked.ask({}, is_fresh=True)["pid"] != again["pid"]
    asked.close()


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("import sys; sys.stdin.readline(); sys.stdin.read()", "took longer than 0.5 s"),
        ("raise SystemExit(1)", "ended without an answer"),
        ("print('not json', flush=True); input(); input()", "ended without an answer"),
        ("import sys; sys.stdout.write('x' * 5_000_000); sys.stdout.flush(); input()", "ended without an answer"),
        ("print('[]', flush=True); input(); input()", "no answer"),
        ('print(\'{"answer": {"x": 1}}\', flush=True); input(); input()', "an answer of another form"),
    ],
)
def test_a_process_that_does_not_answer_is_ended_and_said(code: str, sentence: str) -> None:
    previews = Previews(lambda: worker(code, time_limit_s=0.5 if "longer" in sentence else 60.0))
    with pytest.raises(PreviewFailed, match=sentence):
        previews.partition({})
    previews.close()


def test_a_program_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PreviewFailed, match="cannot be started"):
        PreviewWorker([str(tmp_path / "nothing")]).ask({})


def test_too_many_at_once_are_refused() -> None:
    asked = worker(ECHO)
    for _ in range(5):
        assert asked._places.acquire(blocking=False)
    with pytest.raises(PreviewFailed, match="too many previews"):
        asked.ask({})
    asked.close()


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"{}", b'{"what": "other"}', b'{"what": "partition", "config": 3}', b"\xff"]
)
def test_the_process_answers_nonsense_with_an_error(line: bytes) -> None:
    assert answer_to(line)["kind"] == "failed"
