"""What the paper's figures say, as statements about two samplers that paired runs can support or contradict.

Read off the authors' slide (hypervolume over samples, 5 seeds): the two experiments do not always agree, and where they
do not, both statements are here. The rule, stated before any run: a statement about two samplers is *held* if the
two-sided Wilcoxon signed-rank test over seeds, Holm-corrected over all such statements, is below 0.05 and the sign is
the paper's, *not held* if it is below 0.05 with the other sign, and *undecided* otherwise. With five seeds
every such statement is undecided: the smallest p-value is 0.0625.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mobo.base.statistics import draw_seeds, holm, wilcoxon_p
from mobo.benchmark.outcomes import BenchmarkOutcome, CellOutcome
from mobo.space.pareto import Matrix

ALPHA = 0.05
SAMPLES = 150
"""The paper's budget."""

MIN_SEEDS = 6
"""With fewer pairs no Wilcoxon test can be below :data:`ALPHA`."""

HELD, NOT_HELD, UNDECIDED = "held", "not held", "undecided"

CIFAR10, DALIAC = "ResNet18, CIFAR-10", "MobileNetV3, DaLiAc"
BOTH = f"{CIFAR10}; {DALIAC}"

# Where ARS-MOBOpt passes TuRBO-1 for good in the CIFAR-10 figure, and how near counts as the same.
CROSSING, NEAR = 67, 15
_SURE = 0.95


@dataclass(frozen=True, kw_only=True)
class PairClaim:
    """Something one sampler has more of than another.

    Attributes:
        text: The statement.
        source: Experiments of the paper that show it.
        more: Label of the sampler that has more.
        less: Label of the other.
        measure: What is compared, of one cell; None if the cell did not come so far.
    """

    text: str
    source: str
    more: str
    less: str
    measure: Callable[[CellOutcome], float | None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one statement fared.

    Attributes:
        text: The statement.
        source: Experiments of the paper that show it.
        verdict: Held, not held or undecided.
        evidence: The figures behind the verdict.
        seeds: How many seeds.
    """

    text: str
    source: str
    verdict: str
    evidence: str
    seeds: int


def hypervolume_at(evaluations: int) -> Callable[[CellOutcome], float | None]:
    """Return the measure of the hypervolume after so many evaluations."""
    return lambda cell: cell.hypervolume_at(evaluations)


def gain_after(first: int, last: int) -> Callable[[CellOutcome], float | None]:
    """Return the measure of the hypervolume gained between two numbers of evaluations."""

    def gain(cell: CellOutcome) -> float | None:
        start, end = cell.hypervolume_at(first), cell.hypervolume_at(last)
        return None if start is None or end is None else end - start

    return gain


def front_size(evaluations: int) -> Callable[[CellOutcome], float | None]:
    """Return the measure of the number of distinct points on the feasible front."""
    return lambda cell: float(len(cell.front(evaluations))) if len(cell.trials) >= evaluations else None


def _ahead(more: str, less: str, source: str, *, evaluations: int = SAMPLES) -> PairClaim:
    return PairClaim(
        text=f"after {evaluations} samples {more} is ahead of {less}",
        source=source,
        more=more,
        less=less,
        measure=hypervolume_at(evaluations),
    )


def _larger_front(less: str) -> PairClaim:
    return PairClaim(
        text=f"after 150 samples ars_mobopt has more feasible front points than {less}",
        source=CIFAR10,
        more="ars_mobopt",
        less=less,
        measure=front_size(SAMPLES),
    )


CLAIMS: tuple[PairClaim, ...] = (
    *(_ahead("ars_mobopt", less, BOTH) for less in ("turbo", "qparego", "morbo", "nsga2", "random")),
    _ahead("turbo", "qparego", CIFAR10),
    _ahead("qparego", "turbo", DALIAC),
    _ahead("qparego", "morbo", BOTH),
    _ahead("turbo", "morbo", BOTH),
    _ahead("morbo", "nsga2", BOTH),
    _ahead("nsga2", "random", BOTH),
    _ahead("turbo", "ars_mobopt", CIFAR10, evaluations=30),
    _ahead("morbo", "ars_mobopt", CIFAR10, evaluations=30),
    _ahead("qparego", "ars_mobopt", CIFAR10, evaluations=20),
    PairClaim(
        text="from sample 60 to 150 ars_mobopt gains more than morbo, which stalls",
        source=BOTH,
        more="ars_mobopt",
        less="morbo",
        measure=gain_after(60, SAMPLES),
    ),
    *(_larger_front(less) for less in ("turbo", "qparego", "random", "nsga2", "morbo")),
)


def pair_verdicts(outcome: BenchmarkOutcome, problem: str, claims: Sequence[PairClaim] = CLAIMS) -> list[Verdict]:
    """Return how each statement fared on a problem; one whose samplers did not come so far is undecided."""
    pairs = [_paired(outcome, problem, claim) for claim in claims]
    tested = [index for index, (more, _) in enumerate(pairs) if more]
    corrected = dict(zip(tested, holm([wilcoxon_p(*pairs[index]) for index in tested]), strict=True))
    verdicts = []
    for index, (claim, (more, less)) in enumerate(zip(claims, pairs, strict=True)):
        if index not in corrected:
            verdicts.append(_verdict(claim, UNDECIDED, "not run so far", 0))
            continue
        difference, p = float(np.mean(more) - np.mean(less)), corrected[index]
        wins = sum(a > b for a, b in zip(more, less, strict=True))
        decided = HELD if difference > 0 else NOT_HELD
        evidence = (
            f"means {np.mean(more):.4g} and {np.mean(less):.4g}, ahead in {wins} of {len(more)} seeds, "
            f"corrected p = {p:.2g}"
        )
        verdicts.append(_verdict(claim, decided if p < ALPHA else UNDECIDED, evidence, len(more)))
    return verdicts


def crossing_verdict(outcome: BenchmarkOutcome, problem: str) -> Verdict:
    """Return whether ARS-MOBOpt passes TuRBO-1 for good near the published sample.

    In each resample of the seeds, drawn in pairs, the means cross after the last evaluation at which ARS-MOBOpt is not
    ahead. *Held* if 95 % of the resamples cross within :data:`NEAR` evaluations of :data:`CROSSING`, *not held* if at
    most 5 % do, *undecided* otherwise and with fewer than :data:`MIN_SEEDS` seeds, of which no other claim could be
    decided either. A resample in which one of them is ahead all the time crosses nowhere near.
    """
    claim = f"the mean of ars_mobopt passes that of turbo for good near sample {CROSSING} (within {NEAR})"
    curves = _paired_curves(outcome, problem, "ars_mobopt", "turbo")
    if curves is None:
        return Verdict(text=claim, source=CIFAR10, verdict=UNDECIDED, evidence="not run so far", seeds=0)
    ours, theirs = curves
    point = _crossing((ours - theirs).mean(axis=0))
    crossings = np.array([_crossing((ours[draw] - theirs[draw]).mean(axis=0)) for draw in draw_seeds(len(ours))])
    start = outcome.config.initial_trials
    near = float(np.mean((np.abs(crossings - CROSSING) <= NEAR) & (crossings > start)))
    decided = HELD if near >= _SURE else NOT_HELD if near <= 1 - _SURE else UNDECIDED
    where = f"the means cross after {point}" if start < point < ours.shape[1] else _no_crossing(point, ours.shape[1])
    return Verdict(
        text=claim,
        source=CIFAR10,
        verdict=decided if len(ours) >= MIN_SEEDS else UNDECIDED,
        evidence=f"{where}; {near:.0%} of the resamples cross near {CROSSING}",
        seeds=len(ours),
    )


def _no_crossing(point: int, length: int) -> str:
    return "ars_mobopt ends behind" if point == length else "ars_mobopt is ahead from the start"


def _crossing(difference: Matrix) -> int:
    """Return after how many evaluations the difference stays above zero; all of them if it ends at or below."""
    behind = np.flatnonzero(difference <= 0)
    return int(behind[-1]) + 1 if len(behind) else 0


def _paired(outcome: BenchmarkOutcome, problem: str, claim: PairClaim) -> tuple[list[float], list[float]]:
    """Return the measures of both samplers with the seeds that both have."""
    more, less = (
        {seed: claim.measure(cell) for seed, cell in outcome.cells[problem].get(label, {}).items()}
        for label in (claim.more, claim.less)
    )
    pairs = [(more[seed], less.get(seed)) for seed in sorted(more)]
    kept = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in kept], [b for _, b in kept]


def _paired_curves(outcome: BenchmarkOutcome, problem: str, one: str, other: str) -> tuple[Matrix, Matrix] | None:
    """Return both samplers' curves, shape ``(seeds, SAMPLES)``, of the seeds with which both came so far."""
    by_seed = [
        {
            seed: cell.hypervolumes[:SAMPLES]
            for seed, cell in outcome.cells[problem].get(label, {}).items()
            if len(cell.trials) >= SAMPLES
        }
        for label in (one, other)
    ]
    seeds = sorted(set(by_seed[0]) & set(by_seed[1]))
    if not seeds:
        return None
    return np.array([by_seed[0][seed] for seed in seeds]), np.array([by_seed[1][seed] for seed in seeds])


def _verdict(claim: PairClaim, verdict: str, evidence: str, seeds: int) -> Verdict:
    return Verdict(text=claim.text, source=claim.source, verdict=verdict, evidence=evidence, seeds=seeds)
