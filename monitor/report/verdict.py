"""The run in a few sentences and a few figures."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.report.html import EMPTY, Html, element, join
from monitor.series import has_central_test
from monitor.tables import RunSeries, Summary
from monitor.words import clean, count, duration, number, percent, plural, reason_in_words, size

_STATES: Mapping[str, tuple[str, str, str]] = {  # state -> mark, words, CSS class
    "completed": ("✓", "Completed", "good"),
    "stopped": ("■", "Stopped", "fair"),
    "interrupted": ("■", "Interrupted", "fair"),
    "failed": ("✗", "Failed", "bad"),
    "unfinished": ("…", "Unfinished", "fair"),
}
_MAX_REASONS = 3  # that the sentence names


def state_badge(summary: Summary) -> Html:
    """Show how the run ended, in a mark, a word and a colour."""
    mark, words, style = _STATES.get(summary.state, ("?", clean(summary.state, 40), "fair"))
    return element("span", element("span", f"{mark} ", aria_hidden="true"), words, class_=f"badge {style}")


def title_of(series: RunSeries) -> str:
    """Name the run by what was trained on what."""
    model, dataset = setting(series, "model"), setting(series, "dataset")
    return f"Federated training of {model} on {dataset}" if model and dataset else "Federated training"


def setting(series: RunSeries, key: str) -> str:
    """Return a setting of the run as text, "" when it is not known."""
    value = series.config.get(key)
    return "" if value is None else clean(value)


def verdict(series: RunSeries) -> Html:
    """Say what was trained, how good it is, and which updates were refused and why."""
    summary = series.summary
    sentences = [_training(series), _quality(series), _updates(summary), _kept(summary)]
    if summary.error:
        sentences.append(f"The run ended with an error: {clean(summary.error)}")
    return element("p", " ".join(filter(None, sentences)), class_="verdict")


def _training(series: RunSeries) -> str:
    summary, config = series.summary, series.config
    wanted = config.get("num-rounds")
    rounds = plural(summary.rounds_completed, "round")
    if isinstance(wanted, int) and wanted != summary.rounds_completed:
        rounds = f"{summary.rounds_completed:,} of {plural(wanted, 'round')}"
    model, dataset, strategy = (setting(series, key) for key in ("model", "dataset", "strategy"))
    what = f"{model} on {dataset} " if model and dataset else ""
    by = f" with {strategy}" if strategy else ""
    restarts = f", in {plural(summary.num_starts, 'start')}" if summary.num_starts > 1 else ""
    return f"{plural(series.num_clients, 'client')} trained {what}together for {rounds}{by}{restarts}."


def _quality(series: RunSeries) -> str:
    summary = series.summary
    if summary.accuracy is None and summary.loss is None:
        return "How good the global model is was not measured."
    where = "of the central test examples" if has_central_test(series.rounds) else "of the clients' own test examples"
    if summary.accuracy is None:
        return f"The global model's loss is {number(summary.loss)}."
    before = f", up from {percent(summary.initial_accuracy)} before training" if _has_improved(summary) else ""
    loss = f" (loss {number(summary.loss)})" if summary.loss is not None else ""
    return f"The global model gets {percent(summary.accuracy)} {where} right{loss}{before}."


def _has_improved(summary: Summary) -> bool:
    known = summary.accuracy is not None and summary.initial_accuracy is not None
    return known and (summary.accuracy or 0.0) > (summary.initial_accuracy or 0.0)


def _updates(summary: Summary) -> str:
    accepted = f"{plural(summary.updates_accepted, 'update')} {_were(summary.updates_accepted)} accepted"
    late = f" {plural(summary.updates_late, 'reply', 'replies')} came too late." if summary.updates_late else ""
    if not summary.updates_rejected:
        return f"{accepted} and none was refused.{late}"
    named = list(summary.rejections.items())[:_MAX_REASONS]
    if len(summary.rejections) == 1:
        why = f"because {reason_in_words(named[0][0])}"
    else:
        why = "; ".join(f"{times:,} because {reason_in_words(reason)}" for reason, times in named)
        others = summary.updates_rejected - sum(times for _, times in named)
        why += f"; {others:,} for other reasons" if others else ""
    return f"{accepted}; {summary.updates_rejected:,} {_were(summary.updates_rejected)} refused: {why}.{late}"


def _were(amount: int) -> str:
    return "was" if amount == 1 else "were"


def _kept(summary: Summary) -> str:
    if not summary.rounds_without_update:
        return ""
    return f"In {plural(summary.rounds_without_update, 'round')} the old model was kept: too few good updates came in."


def key_figures(series: RunSeries) -> Html:
    """The figures someone looks for first."""
    summary = series.summary
    has_fallen = 0 < summary.best_round < summary.rounds_completed
    best = f"best {percent(summary.best_accuracy)} in round {summary.best_round}" if has_fallen else ""
    asked = summary.updates_accepted + summary.updates_rejected + summary.updates_late
    per_round = summary.seconds_rounds / summary.rounds_completed if summary.rounds_completed else None
    figures = [
        ("Accuracy", percent(summary.accuracy), best) if summary.accuracy is not None else None,
        ("Loss", number(summary.loss), "") if summary.loss is not None else None,
        ("Rounds", count(summary.rounds_completed), f"{duration(per_round)} each" if per_round else ""),
        ("Clients", count(series.num_clients), _cohort(series)),
        ("Updates accepted", count(summary.updates_accepted), f"of {count(asked)} asked for"),
        ("Updates refused", count(summary.updates_rejected), _other_trouble(summary)),
        ("Time", duration(summary.seconds_total), f"{plural(series.workers, 'worker')}" if series.workers else ""),
        ("Model", size(series.num_parameters), "parameters") if series.num_parameters else None,
    ]  # fmt: skip
    shown = [_figure(*entry) for entry in figures if entry is not None]
    return element("dl", *shown, class_="figures") if shown else EMPTY


def _cohort(series: RunSeries) -> str:
    trained = sum(client.asked > 0 for client in series.clients)
    return f"{trained:,} took part" if trained and trained != series.num_clients else ""


def _other_trouble(summary: Summary) -> str:
    parts = [
        f"{summary.updates_late:,} late" if summary.updates_late else "",
        f"{summary.updates_capped:,} capped" if summary.updates_capped else "",
        f"{plural(summary.evaluations_rejected, 'evaluation')} refused" if summary.evaluations_rejected else "",
    ]
    return ", ".join(filter(None, parts))


def _figure(name: str, value: str, note: str) -> Html:
    return element(
        "div", element("dt", name), element("dd", join(element("b", value), element("small", note) if note else None))
    )
