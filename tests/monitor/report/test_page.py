import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from monitor.report import Baselines, Extras, Privacy, SeedRun, render_report, write_report
from monitor.report.style import CSS
from monitor.rows import rows_of
from monitor.series import read_series
from monitor.sinks import JsonlSink
from monitor.tables import RunSeries
from shared.config import RunConfig
from shared.events import (
    ClientsEvaluated,
    Event,
    EventLog,
    MemorySink,
    ModelEvaluated,
    PartitionDescribed,
    PhaseEnded,
    PhaseStarted,
    RoundClosed,
    RoundStarted,
    RunEnded,
    RunStarted,
    UpdateAccepted,
    UpdateLate,
    UpdateReceived,
    UpdateRejected,
)

_TAGS = """
    html head meta title style body main header section footer h1 h2 h3 p span b small div dl dt dd ul li figure
    figcaption table thead tbody tr th td details summary pre code svg path rect g
"""
ALLOWED_TAGS = frozenset(_TAGS.split())


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.headings: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            return
        self.text.append(data)
        if self._open and self._open[-1] in ("h1", "h2", "h3"):
            self.headings.append((self._open[-1], data))

    @property
    def words(self) -> str:
        return " ".join(self.text)


def run_events(
    clients: list[str],
    num_rounds: int = 3,
    *,
    reason: str = "bad-signature",
    detail: str = "no match",
    class_names: list[str] | None = None,
    config: dict[str, object] | None = None,
    state: str = "completed",
    error: str | None = None,
) -> list[Event]:
    """Events of a whole run in which the last client is refused and the first is late in round 1's evaluation."""
    settings = {**RunConfig(num_rounds=num_rounds).as_flat(), **(config or {})}
    names = class_names or ["zero", "one"]
    events: list[Event] = [
        RunStarted(
            config=settings, first_round=1, clients=clients, num_clients=len(clients),  # type: ignore[arg-type]
            num_parameters=46730, workers=2,
        ),
        PartitionDescribed(class_names=names, histograms={name: [10 + i, i] for i, name in enumerate(clients)}),
        ModelEvaluated(server_round=0, metrics={"loss": 2.3, "accuracy": 0.1}, seconds=0.1),
    ]  # fmt: skip
    for number in range(1, num_rounds + 1):
        events += round_events(number, clients, reason, detail)
    return [*events, RunEnded(state=state, rounds_completed=num_rounds, seconds=6.5, error=error)]


def round_events(number: int, clients: list[str], reason: str, detail: str) -> list[Event]:
    accuracy = 1 - 0.5**number
    metrics = {"loss": 1 - accuracy, "accuracy": accuracy}
    events: list[Event] = [
        RoundStarted(server_round=number, attempt=1),
        PhaseStarted(server_round=number, phase="train", clients=clients),
    ]
    for client in clients[:-1]:
        events.append(UpdateReceived(server_round=number, phase="train", client=client, node_id="1", seconds=0.5))
        events.append(
            UpdateAccepted(server_round=number, phase="train", client=client, num_examples=9, metrics=metrics)
        )
    last = clients[-1]
    return [
        *events,
        UpdateRejected(server_round=number, phase="train", client=last, node_id="1", reason=reason, detail=detail),
        PhaseEnded(
            server_round=number, phase="train", accepted=len(clients) - 1, rejected=1, late=0, collect_seconds=1.0,
            aggregate_seconds=0.1, kept_old_model=False, metrics=metrics,
        ),
        UpdateLate(server_round=number, phase="evaluate", client=clients[0], seconds=1.0),
        ClientsEvaluated(
            server_round=number, mean=metrics, deviation={"loss": 0.1, "accuracy": 0.05}, minimum={"loss": 0.0},
            maximum={"loss": 1.0}, num_clients=2,
        ),
        ModelEvaluated(server_round=number, metrics=metrics, seconds=0.2),
        RoundClosed(server_round=number, seconds=2.0, model_digest="ab12", checkpoint_seconds=0.05),
    ]  # fmt: skip


def series_of(events: list[Event]) -> RunSeries:
    sink = MemorySink()
    log = EventLog("run-1", [sink], now=lambda: 1_790_000_000.0)
    for event in events:
        log.emit(event)
    return read_series(rows_of(sink.envelopes))


EXTRAS = Extras(
    environment={"Python": "3.11.7", "Cores": "2"},
    how_to_load="from safetensors.torch import load_file\nmodel.load_state_dict(load_file('model.safetensors'))",
    baselines=Baselines(centralised=0.97, local_only=0.6, local_only_deviation=0.1, local_only_by_client={"a": 0.6}),
    seeds=(SeedRun(seed=1, accuracy=0.9, loss=0.3), SeedRun(seed=2, accuracy=0.94, loss=0.2)),
    privacy=Privacy(epsilon=3.25, delta=1e-5, epsilon_by_round=((1, 1.0), (2, 2.0), (3, 3.25))),
)


def test_the_page_says_in_words_what_came_out() -> None:
    page = Page(render_report(series_of(run_events(["a", "b", "c"])), EXTRAS))
    assert "Federated training of cnn on mnist-sample" in page.words
    assert "3 clients trained cnn on mnist-sample together for 3 rounds with fedavg." in page.words
    assert "gets 87.5% of the central test examples right (loss 0.125), up from 10.0% before training." in page.words
    assert "6 updates were accepted; 3 were refused: because the signature is not valid." in page.words
    assert "2026-09-21 14:13 UTC" in page.words


def test_every_section_is_there_when_its_data_is() -> None:
    page = Page(render_report(series_of(run_events(["a", "b", "c"])), EXTRAS))
    assert [text for level, text in page.headings if level == "h2"] == [
        "Learning", "Privacy", "Data of the clients", "Rounds", "Refused replies", "Clients", "Use and repeat",
        "Settings and environment",
    ]  # fmt: skip
    assert "Accuracy over 2 runs: 92.00% ± 2.83% (sample standard deviation)." in page.words  # 0.04 / sqrt(2)
    assert "(ε = 3.25, δ = 1e-05) for each example" in page.words
    assert "60.0% ± 10.0%" in page.words
    assert "load_file('model.safetensors')" in page.words


def test_sections_without_data_are_left_out() -> None:
    page = Page(render_report(read_series([]), Extras()))
    assert page.headings == [("h1", "Federated training")]
    assert "How good the global model is was not measured." in page.words
    assert "None" not in page.words


def test_a_run_that_only_started_has_a_report() -> None:
    page = Page(render_report(series_of(run_events(["a", "b"])[:2]), Extras()))
    assert "Unfinished" in page.words
    assert "0 of 3 rounds" in page.words


def test_headings_go_down_one_level_at_a_time() -> None:
    levels = [int(level[1]) for level, _ in Page(render_report(series_of(run_events(["a", "b"])), EXTRAS)).headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_plot_has_words_and_a_table() -> None:
    markup = render_report(series_of(run_events([f"c{i}" for i in range(60)])), EXTRAS)
    figures = re.findall(r"<figure.*?</figure>", markup, flags=re.DOTALL)
    assert len(figures) == 7
    for figure in figures:
        assert re.search(r'role="img" aria-label="[^"]{10,}"', figure)
        assert "<table" in figure or "Classes by client" in figure
    assert markup.count("<details>") >= 6


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    markup = render_report(series_of(run_events(["a", "b", "c"])), EXTRAS)
    page = Page(markup)
    assert set(page.tags) <= ALLOWED_TAGS
    names = {name for name, _ in page.attributes}
    assert not any(name.startswith("on") or name in ("href", "src", "srcset", "action", "xlink:href") for name in names)
    assert any(
        name == "content" and value and value.startswith("default-src 'none';") for name, value in page.attributes
    )
    for word in ("url(", "@import", "http:", "https:", "expression("):
        assert word not in CSS
        assert word not in markup


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "--><script>alert(1)</script>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "x;}</style>",
    "\u202eevil\x00\x1b[2J\ud800",
    "=1+1\r\nhttp-equiv",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("num_clients", [3, 50])
def test_nothing_a_client_sends_becomes_markup(text: str, num_clients: int) -> None:
    clients = [f"{text}{i}" for i in range(num_clients)]
    events = run_events(
        clients, reason=text, detail=text, class_names=[text, text + "2"], state=text, error=text,
        config={"dataset": text, "model": text, "strategy": text, text: text},
    )  # fmt: skip
    extras = Extras(
        environment={text: text},
        command=text,
        how_to_load=text,
        baselines=Baselines(centralised=0.5, local_only_by_client={text: 0.5}, note=text),
        seeds=(SeedRun(seed=1, accuracy=0.5, loss=0.5, run=text),),
        privacy=Privacy(epsilon=1.0, delta=0.1, unit=text, accountant=text, note=text),
    )
    markup = render_report(series_of(events), extras)
    page = Page(markup)
    assert set(page.tags) <= ALLOWED_TAGS
    assert not any(name.startswith("on") or name in ("href", "src") for name, _ in page.attributes)
    assert page.tags.count("style") == 1
    assert not set("\x00\x1b\u202e\ud800") & set(markup)


def test_a_hostile_name_is_shown_as_it_is_spelt() -> None:
    page = Page(render_report(series_of(run_events(["<b>mallory</b>", "b"])), Extras()))
    assert "<b>mallory</b>" in page.text


def test_a_large_run_stays_a_small_page() -> None:
    clients = [f"client-{i}" for i in range(1000)]
    markup = render_report(series_of(run_events(clients, num_rounds=30)), Extras())
    assert len(markup) < 400_000
    assert "900 more clients not shown" in Page(markup).words


def test_the_report_is_written_beside_its_events(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl")
    log = EventLog("run-1", [sink], now=lambda: 1_790_000_000.0)
    for event in run_events(["a", "b", "c"]):
        log.emit(event)
    log.close()
    path = write_report(tmp_path, EXTRAS)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == render_report(series_of(run_events(["a", "b", "c"])), EXTRAS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.jsonl", "report.html"]


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_plots_have_the_contrast_of_wcag_aa(theme: int) -> None:
    blocks = re.findall(r"--page:.*?--band:[.\d]+;", CSS, flags=re.DOTALL)
    colours = dict(re.findall(r"--([a-z0-9-]+):(#[0-9a-f]{6})", blocks[theme]))
    for text in ("text", "soft"):
        for back in ("page", "card"):
            assert _contrast(colours[text], colours[back]) >= 4.5, (text, back)
    assert _contrast(colours["c1"], colours["card"]) >= 4.5  # summaries are text
    assert _contrast(colours["text"], colours["code"]) >= 4.5
    for name in ("good", "fair", "bad"):
        assert _contrast(colours[f"{name}-text"], colours[f"{name}-back"]) >= 4.5, name
    assert _contrast(colours["bad-text"], colours["card"]) >= 4.5
    for name in ("c2", "c3", "c4", "c5", "bad"):
        assert _contrast(colours[name], colours["card"]) >= 3.0, name
