"""What a reader needs to trust, repeat and use a run: comparisons, settings, command, machine, loading."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Mapping

from monitor.privacy import Privacy
from monitor.report.charts import Line, line_chart
from monitor.report.extras import Baselines, SeedRun
from monitor.report.html import EMPTY, Html, Node, element, join, preformatted
from monitor.report.parts import bar, card, facts, figure, table
from monitor.report.scale import nice_scale
from monitor.tables import RunSeries
from monitor.words import clean, count, number, percent, plural
from shared.config import RunConfig
from shared.events import JsonValue

_NOT_REPEATED = frozenset({"output", "resume"})  # settings that say where, not what
_MAX_BASELINE_CLIENTS = 100
_MAX_PRIVACY_CLIENTS = 100


def baselines_card(series: RunSeries, baselines: Baselines | None) -> Html:
    """Compare the federation with one model on all data, and with clients that train alone."""
    if baselines is None:
        return EMPTY
    local = "" if baselines.local_only_deviation is None else f" ± {percent(baselines.local_only_deviation)}"
    entries = [
        ("Centralised: one model on everybody's data", baselines.centralised, "", "c4"),
        ("Federated: this run", series.summary.accuracy, "", "c1"),
        ("Local only: each client alone, mean", baselines.local_only, local, "c5"),
    ]
    body: list[list[Node]] = [
        [name, join(percent(value) + more, bar(value, style))]
        for name, value, more, style in entries
        if value is not None
    ]
    alone = sorted(baselines.local_only_by_client.items(), key=lambda item: -item[1])[:_MAX_BASELINE_CLIENTS]
    each = table("Each client alone", ["Client", "Accuracy"], [[name, percent(value)] for name, value in alone])
    folded = element("details", element("summary", "Show each client"), each) if each else None
    note = element("p", baselines.note, class_="note") if baselines.note else None
    return card("Compared with", note, table("Accuracy on the test set", ["Training", "Accuracy"], body), folded)


def seeds_card(seeds: tuple[SeedRun, ...]) -> Html:
    """Several runs that differ in their seed: each, and mean and deviation."""
    if not seeds:
        return EMPTY
    body: list[list[Node]] = [[str(run.seed), percent(run.accuracy, 2), number(run.loss), run.run] for run in seeds]
    note = _mean_and_deviation(seeds)
    heads = ["Seed", "Accuracy", "Loss", "Run"]
    return card("Repeated with other seeds", element("p", note), table("Runs by seed", heads, body))


def _mean_and_deviation(seeds: tuple[SeedRun, ...]) -> str:
    values = [run.accuracy for run in seeds if run.accuracy is not None]
    if not values:
        return "No run measured its accuracy."
    deviation = f" ± {percent(statistics.stdev(values), 2)} (sample standard deviation)" if len(values) > 1 else ""
    return f"Accuracy over {len(values)} runs: {percent(statistics.fmean(values), 2)}{deviation}."


def privacy_section(privacy: Privacy | None) -> Html:
    """What differential privacy the run guarantees, how it was spent, and what it does not cover."""
    if privacy is None:
        return EMPTY
    clients = f" over {plural(privacy.num_clients, 'client')}" if privacy.num_clients else ""
    median = f"{privacy.epsilon_median:.3g}" if privacy.epsilon_median is not None else None
    pairs: list[tuple[Node, Node]] = [
        ("Guarantee", f"(ε = {privacy.epsilon:.3g}, δ = {privacy.delta:.3g}) for each {privacy.unit}"),
        ("ε, maximum", f"{privacy.epsilon:.4g}{clients}" if privacy.num_clients else None),
        ("ε, median", median),
        ("Target ε", f"{privacy.target_epsilon:.3g}" if privacy.target_epsilon is not None else None),
        ("Clients with nothing left", count(privacy.exhausted_clients) if privacy.exhausted_clients else None),
        ("Noise multiplier", f"{privacy.noise_multiplier:.4g}" if privacy.noise_multiplier is not None else None),
        ("Clipping norm", f"{privacy.max_grad_norm:.4g}" if privacy.max_grad_norm is not None else None),
        ("Sampling rate", f"{privacy.sample_rate:.4g}" if privacy.sample_rate is not None else None),
        ("Steps", count(privacy.steps) if privacy.steps else None),
        ("Sampler", privacy.sampler or None),
        ("Accountant", privacy.accountant or None),
    ]
    shown = facts("Differential privacy of this run", [pair for pair in pairs if pair[1] is not None])
    note = element("p", element("b", "This guarantee is weak. "), privacy.note, class_="note") if privacy.note else None
    outside = element("p", _OUTSIDE, class_="note")
    return join(card("Guarantee", note, shown, _by_client(privacy), outside), _spending(privacy))


_OUTSIDE = (
    "It covers the models that clients send, over the life of their data. It does not cover the metrics they report "
    "(losses, accuracies, numbers of examples), nor the choice of settings by looking at results."
)


def _by_client(privacy: Privacy) -> Html | None:
    largest = sorted(privacy.by_client.items(), key=lambda item: -item[1])[:_MAX_PRIVACY_CLIENTS]
    each = table("Epsilon of each client", ["Client", "ε"], [[name, f"{value:.4g}"] for name, value in largest])
    return element("details", element("summary", "Show each client"), each) if each else None


def _spending(privacy: Privacy) -> Html:
    if not privacy.epsilon_by_round:
        return EMPTY
    points = list(privacy.epsilon_by_round)
    plot = line_chart(
        label=f"Epsilon spent by round, {points[-1][1]:.3g} at the end",
        scale=nice_scale(0.0, max(epsilon for _, epsilon in points)),
        lines=[Line(label="ε spent", points=points, style="s1")],
        show=lambda value: f"{value:.3g}",
        show_tick=lambda value: f"{value:g}",
    )
    body = [[str(number), f"{value:.4g}"] for number, value in points]
    return figure("Privacy spent by round", plot, "", table("ε spent by round", ["Round", "ε"], body))


def settings_card(config: Mapping[str, JsonValue]) -> Html:
    """All settings; those that are not the default are marked in words."""
    defaults = RunConfig().as_flat()
    changed, same = [], []
    for key, value in config.items():
        shown = _shown(value)
        if key in defaults and shown == _shown(defaults[key]):
            same.append((key, shown or "(off)"))
        else:
            default = f" (default {_shown(defaults[key]) or 'off'})" if key in defaults else ""
            changed.append((key, join(element("b", shown), element("small", default))))
    summary = element("summary", f"Show {plural(len(same), 'default setting')}")
    rest = element("details", summary, facts("Left at their default", same)) if same else EMPTY
    return card("Settings", facts("Chosen for this run", changed), rest)


def _shown(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(map(_shown, value))
    return f"{value:.10g}" if isinstance(value, float) else "" if value is None else clean(value)


def command_of(config: Mapping[str, JsonValue]) -> str:
    """Write the same run as a command line: every setting that is not the default."""
    defaults = RunConfig().as_flat()
    words = ["python", "run_demo.py"]
    for key, value in config.items():
        if key not in defaults or key in _NOT_REPEATED or _shown(value) == _shown(defaults[key]):
            continue
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        elif key == "attack":
            words += [word for attack in _shown(value).split(",") for word in ("--attack", attack)]
        else:
            words += [f"--{key}", _shown(value)]
    return shlex.join(words)


def repeat_card(config: Mapping[str, JsonValue], command: str) -> Html:
    """The command that runs the same again."""
    return card("The same run again", preformatted(command or command_of(config))) if command or config else EMPTY


def load_card(how_to_load: str) -> Html:
    """The lines that load the trained model."""
    note = element("p", "The file holds arrays only: no code is run when it is read.", class_="note")
    return card("Load the model", preformatted(how_to_load), note) if how_to_load.strip() else EMPTY


def environment_card(environment: Mapping[str, str]) -> Html:
    """Versions and machine."""
    return card("Environment", facts("Versions and machine", list(environment.items())))
