"""Membership inference: was the model trained on this sample?

scores = lira_online(phi(target_logits, own), shadow_phi, member, fixed_variance=True)

Every attack gives a score per sample, higher for samples that it takes for members. An attack knows what the target
model says of a sample and, but for the simplest, what *shadow models* say of it: models trained alike on other draws
of the data, for which the attacker knows whether the sample was *in* their training set or *out* of it.

- `loss_threshold`: Yeom et al. 2018, arXiv 1709.01604.
- `lira_online`, `lira_offline`: Carlini et al. 2022, arXiv 2112.03570.
- `rmia`: Zarifzadeh et al. 2024, arXiv 2312.03262.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr  # type: ignore[import-untyped]  # none are published with it

DEVIATION_FLOOR = 1e-5  # of float32 logits around 10, about what two orders of summation differ by
PROBABILITY_FLOOR = 1e-30  # keeps ratios of vanishing probabilities numbers, and those of equal ones 1

Floats = NDArray[np.float64]


def phi(logits: NDArray[Any], own: NDArray[np.int64]) -> Floats:
    """Return `log(p / (1 - p))` of the probability p of each sample's own row, float64 `[N]`.

    Carlini et al. found it to be nearly Gaussian over models, which p and log p are not. It is computed from logits,
    as the own one less the log-sum-exp of the others: 1 - p of a sure model is lost to rounding.

    >>> phi(np.log([[0.75, 0.125, 0.125]]), np.array([0])).round(6).tolist() == [round(float(np.log(3)), 6)]
    True

    Args:
        logits: `[N, R]`, R at least 2; minus infinity is a row that is not there.
        own: int64 `[N]`, the row of each sample's class.

    Raises:
        ValueError: with one row every p is 1; or shapes do not fit, or a result is not finite.
    """
    if logits.ndim != 2 or logits.shape[1] < 2 or own.shape != logits.shape[:1]:  # noqa: PLR2004 -- axes, rows
        msg = f"logits [N, R >= 2] and own [N], not {logits.shape} and {own.shape}"
        raise ValueError(msg)
    if len(own) and not 0 <= own.min() <= own.max() < logits.shape[1]:
        msg = f"own rows are from 0 to {logits.shape[1] - 1}, not from {own.min()} to {own.max()}"
        raise ValueError(msg)
    samples = np.arange(len(own))
    others = logits.astype(np.float64)
    score = others[samples, own]
    others[samples, own] = -np.inf
    with np.errstate(invalid="ignore"):  # refused below
        score -= np.logaddexp.reduce(others, axis=1)
    _require_finite("phi", score)
    return score


def loss_threshold(scaled: NDArray[Any]) -> Floats:
    """Return the negative cross-entropy loss, `log p`, float64 `[N]`: members are fitted better (Yeom et al. 2018).

    Its exponential is the probability that `rmia` works on.

    Args:
        scaled: `phi` of the samples, `[N]`, or of any shape.
    """
    return -np.logaddexp(0.0, -scaled.astype(np.float64))


def lira_online(
    target: NDArray[Any], shadow: NDArray[Any], member: NDArray[np.bool_], *, fixed_variance: bool
) -> Floats:
    """Return the likelihood ratio attack's score, float64 `[N]` (Carlini et al. 2022).

    `log N(target; mu_in, s_in^2) - log N(target; mu_out, s_out^2)`, with the means of each sample over the shadow
    models that it is in, and out of. A variance is the mean of squared deviations from these means: of each sample or,
    which is the paper's advice for few shadow models, over all samples, one for in and one for out. A deviation s is at
    least `DEVIATION_FLOOR`. Where shadow models, in and out, agree about a sample (with a fixed variance: about all
    samples), its score is exactly 0, whatever the target says.

    Args:
        target: what the target model says, `[N]`; `phi` of it.
        shadow: what shadow models say, `[S, N]`.
        member: bool `[S, N]`, whether the sample was in the shadow model's training set.
        fixed_variance: whether the variances are over all samples; a sample's own needs several models on either side.

    Raises:
        ValueError: a sample is in no shadow model, or out of none; or shapes do not fit, or values are not finite.
    """
    _require_shadows(target, shadow, member)
    return _log_density(target, shadow, _chosen(member, inside=True), fixed_variance=fixed_variance) - _log_density(
        target, shadow, _chosen(member, inside=False), fixed_variance=fixed_variance
    )


def lira_offline(
    target: NDArray[Any], shadow: NDArray[Any], member: NDArray[np.bool_], *, fixed_variance: bool = False
) -> Floats:
    """Return the offline likelihood ratio attack's score, float64 `[N]` (Carlini et al. 2022).

    The one-sided test `Phi((target - mu_out) / s_out)`, from the shadow models that a sample is out of. The score is
    its logarithm: Phi itself is 1 from 8.3 deviations on, where the surest members would be tied. Means, variances and
    arguments as in `lira_online`.

    Raises:
        ValueError: a sample is out of no shadow model; or shapes do not fit, or values are not finite.
    """
    _require_shadows(target, shadow, member)
    mean, deviation = _moments(shadow, _chosen(member, inside=False), fixed_variance=fixed_variance)
    score: Floats = log_ndtr((target - mean) / deviation)
    return score


def rmia(
    target_probability: NDArray[Any],
    population_probability: NDArray[Any],
    shadow_probability: NDArray[Any],
    shadow_population: NDArray[Any],
    member: NDArray[np.bool_],
    *,
    gamma: float = 1.0,
    offline_a: float | None = None,
) -> Floats:
    """Return the robust membership inference attack's score, float64 `[N]` (Zarifzadeh et al. 2024).

    The fraction of the population's samples z for which `(p_target(x) / p(x)) / (p_target(z) / p(z)) >= gamma`.
    Online, p(x) is `(mean_in + mean_out) / 2` over shadow models, and p(z), of samples in no training set, their mean.
    Offline, `((1 + a) mean_out + (1 - a)) / 2` stands for both, as in the authors' code.

    Gamma never reverses the order of two samples; it says where samples are told apart. The authors' experiments use 2,
    their Privacy Meter 1: where models are sure of everything no ratio reaches 2, and all scores would be 0.

    Args:
        target_probability: the target model's probability of each sample's own class, `[N]`.
        population_probability: likewise of the population's samples, which no model was trained on, `[Z]`.
        shadow_probability: the shadow models' of the samples, `[S, N]`.
        shadow_population: and of the population's, `[S, Z]`.
        member: bool `[S, N]`, whether the sample was in the shadow model's training set.
        gamma: how much a ratio shall be above another, at least 1.
        offline_a: a, from 0 to 1, of the line `p_in = a p_out + (1 - a)` that stands for the models that a sample is
            in; about 0.3 in the authors' code. None is online.

    Raises:
        ValueError: a sample is out of no shadow model or, online, in none; the population is empty; or shapes do not
            fit, or values are no probabilities.
    """
    outside = np.ones(shadow_population.shape, np.bool_)
    _require_shadows(target_probability, shadow_probability, member)
    _require_shadows(population_probability, shadow_population, outside)
    if not len(population_probability) or len(shadow_probability) != len(shadow_population):
        msg = f"a population, of the same {len(shadow_probability)} shadow models, not {shadow_population.shape}"
        raise ValueError(msg)
    if gamma < 1 or not 0 <= (offline_a or 0) <= 1:
        msg = f"gamma is at least 1 and a from 0 to 1, not {gamma} and {offline_a}"
        raise ValueError(msg)
    shadow = _probability(shadow_probability)
    of_sample = _mean(shadow, _chosen(member, inside=False))
    of_population = _mean(_probability(shadow_population), outside)
    if offline_a is None:
        of_sample = (_mean(shadow, _chosen(member, inside=True)) + of_sample) / 2
    else:
        of_sample, of_population = (
            ((1 + offline_a) * mean + (1 - offline_a)) / 2 for mean in (of_sample, of_population)
        )
    limits = np.sort(gamma * (_probability(population_probability) / of_population))
    ratios = _probability(target_probability) / of_sample
    return np.searchsorted(limits, ratios, side="right") / len(limits)  # how many are at most the ratio


def _log_density(
    target: NDArray[Any], shadow: NDArray[Any], chosen: NDArray[np.bool_], *, fixed_variance: bool
) -> Floats:
    """Return `log N(target; mu, s^2)`, float64 `[N]`, but for the constant."""
    mean, deviation = _moments(shadow, chosen, fixed_variance=fixed_variance)
    return -np.log(deviation) - ((target - mean) / deviation) ** 2 / 2


def _moments(
    values: NDArray[Any], chosen: NDArray[np.bool_], *, fixed_variance: bool
) -> tuple[Floats, Floats | np.float64]:
    """Return mean and standard deviation of the chosen values of each column."""
    mean = _mean(values, chosen)
    axis = None if fixed_variance else 0
    squares = np.where(chosen, (values - mean) ** 2, 0.0).sum(axis=axis)
    return mean, np.maximum(np.sqrt(squares / chosen.sum(axis=axis)), DEVIATION_FLOOR)


def _mean(values: NDArray[Any], chosen: NDArray[np.bool_]) -> Floats:
    """Return the mean of the chosen values `[S, N]` of each column.

    It is taken from the first on: of equal values the mean is then that value to the bit, however many there are.
    """
    values = values.astype(np.float64)
    mean: Floats = values[0] + np.where(chosen, values - values[0], 0.0).sum(axis=0) / chosen.sum(axis=0)
    return mean


def _chosen(member: NDArray[np.bool_], *, inside: bool) -> NDArray[np.bool_]:
    """Return which shadow models a sample is in, or out of, and require that there are some."""
    chosen = member if inside else ~member
    lacking = np.flatnonzero(~chosen.any(axis=0))
    if len(lacking):
        which = "in none" if inside else "in all"
        msg = f"sample {lacking[0]} is {which} of the {len(member)} shadow models' training sets"
        raise ValueError(msg)
    return chosen


def _probability(values: NDArray[Any]) -> Floats:
    if len(values) and not 0 <= values.min() <= values.max() <= 1:
        msg = f"probabilities are from 0 to 1, not from {values.min()} to {values.max()}"
        raise ValueError(msg)
    return np.maximum(values.astype(np.float64), PROBABILITY_FLOOR)


def _require_shadows(target: NDArray[Any], shadow: NDArray[Any], member: NDArray[np.bool_]) -> None:
    if target.ndim != 1 or shadow.shape[1:] != target.shape or member.shape != shadow.shape or not len(shadow):
        msg = f"target [N], shadow and member [S, N], not {target.shape}, {shadow.shape} and {member.shape}"
        raise ValueError(msg)
    if member.dtype != np.bool_:
        msg = f"member is bool, not {member.dtype}"
        raise ValueError(msg)
    _require_finite("the target", target)
    _require_finite("a shadow model", shadow)


def _require_finite(name: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        msg = f"{name} has values that are not finite: {values[~np.isfinite(values)][0]}"
        raise ValueError(msg)
