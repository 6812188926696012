"""The gate before each round: is there budget left, how much noise, and the charge, written before anything is done."""

from __future__ import annotations

from dataclasses import dataclass

from client.privacy.ledger import Entry, Plan, PrivacyLedger
from shared.config import RunConfig
from shared.errors import ConfigError, PrivacyRefused
from shared.privacy.accounting import is_within, spent
from shared.privacy.calibration import calibrate
from shared.privacy.history import Sampling, Segment, extend, num_steps, resolve_delta, sampling_of
from shared.privacy.reply import ClientPrivacy
from shared.reasons import Reason

_AS_GOOD_AS_ALL = 0.995  # of a budget: what is left is not worth a run


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateData:
    """Whose data it is that a round may use, and what its owner allows."""

    ledger: PrivacyLedger
    dataset: str  # the name under which its life is accounted
    run: str  # noise is calibrated once a run
    # The owner's own bound, whatever a server asks for, at a delta of min(1e-5, 1/(10 n)) or below; 0 is none.
    max_epsilon: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """A round that is paid for: what may be done, and what everything so far has cost."""

    noise_multiplier: float
    max_grad_norm: float
    sampling: Sampling
    privacy: ClientPrivacy


def charge_round(data: PrivateData, num_examples: int, config: RunConfig, of_round: RunConfig) -> Charged:
    """Charge a round to a client's ledger, or refuse it.

    Args:
        data: The client's.
        num_examples: Its training examples.
        config: The run's settings, from which noise is calibrated for all rounds.
        of_round: The same with what the server changed for this round.

    Raises:
        PrivacyRefused: The budget is spent, or the ledger cannot be trusted.
        ConfigError: The settings allow no guarantee (delta).
    """
    delta = resolve_delta(config.delta, num_examples)
    if data.max_epsilon:  # an epsilon of the owner's at a delta of the server's would be no bound: so is delta
        delta = min(delta, resolve_delta(0.0, num_examples))
    sampling = _sampling(num_examples, of_round)
    budget = min((bound for bound in (config.target_epsilon, data.max_epsilon) if bound > 0), default=0.0)
    with data.ledger.opened(data.dataset) as ledger:
        plan = _plan(ledger.entry, data, num_examples, config, budget, delta)
        noise = plan.noise_multiplier if plan else config.noise_multiplier
        step = Segment(noise_multiplier=noise, sample_rate=sampling.sample_rate, steps=sampling.steps)
        after = extend(ledger.entry.history, step)
        if budget and not is_within(after, budget, delta):
            raise _exhausted(ledger.entry, after, budget, delta)
        ledger.charge(after, plan)
    cost = spent(after, delta)
    privacy = ClientPrivacy(
        epsilon=cost.epsilon,
        delta=delta,
        accountant=cost.accountant,
        noise_multiplier=noise,
        sample_rate=sampling.sample_rate,
        steps=num_steps(after),
    )
    return Charged(noise_multiplier=noise, max_grad_norm=config.max_grad_norm, sampling=sampling, privacy=privacy)


def _sampling(num_examples: int, config: RunConfig) -> Sampling:
    return sampling_of(
        num_examples=num_examples,
        batch_size=config.batch_size,
        local_epochs=config.local_epochs,
        local_steps=config.local_steps,
    )


def _plan(
    entry: Entry, data: PrivateData, num_examples: int, config: RunConfig, budget: float, delta: float
) -> Plan | None:
    """Return the run's calibrated noise: the one in the ledger, or a new one for all rounds from what is left."""
    if config.noise_multiplier:
        return None
    sampling = _sampling(num_examples, config)
    steps = config.num_rounds * sampling.steps
    wanted = (data.run, budget, delta, sampling.sample_rate, steps)
    known = entry.plan
    if known and wanted == (known.run, known.target_epsilon, known.delta, known.sample_rate, known.steps):
        return known
    so_far = spent(entry.history, delta).epsilon
    if so_far > budget * _AS_GOOD_AS_ALL:  # more noise would keep to it, and drown the model
        raise PrivacyRefused(Reason.BUDGET_EXHAUSTED, f"epsilon {so_far:.4g} of {budget:g} is spent at delta {delta:g}")
    try:
        noise = calibrate(budget, delta=delta, sample_rate=sampling.sample_rate, steps=steps, history=entry.history)
    except ConfigError as error:
        raise PrivacyRefused(Reason.BUDGET_EXHAUSTED, str(error)) from error
    return Plan(
        run=data.run,
        target_epsilon=budget,
        delta=delta,
        sample_rate=sampling.sample_rate,
        steps=steps,
        noise_multiplier=noise,
    )


def _exhausted(entry: Entry, after: tuple[Segment, ...], budget: float, delta: float) -> PrivacyRefused:
    so_far, then = spent(entry.history, delta).epsilon, spent(after, delta).epsilon
    return PrivacyRefused(
        Reason.BUDGET_EXHAUSTED,
        f"epsilon {so_far:.4g} of {budget:g} is spent at delta {delta:g}; another round would make it {then:.4g}",
    )
