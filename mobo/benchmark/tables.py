"""The tables of a benchmark: one function per table, each a list of rows under the same keys."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mobo.base.statistics import holm, ratio_to_best, vargha_delaney, wilcoxon_p
from mobo.benchmark.cell_run import SUGGEST_CPU
from mobo.benchmark.outcomes import BenchmarkOutcome, CellOutcome
from mobo.space.pareto import Matrix
from mobo.study.loop import SUGGEST

Row = dict[str, str | float | int | None]

# How many suggestions at the end of a cell say what a suggestion costs by then.
_LATE = 10


def cell_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return one row per cell: how far it came, how well, how long it took."""
    return [
        {
            "problem": problem,
            "sampler": sampler,
            "seed": seed,
            "state": cell.record.state.value,
            "evaluations": len(cell.trials),
            "hypervolume": cell.hypervolume_at(len(cell.trials)) if cell.trials else None,
            "feasible_front_size": len(cell.front(len(cell.trials))),
            "suggest_s": float(cell.times(SUGGEST).sum()),
            "message": cell.record.message.partition("\n")[0],
        }
        for problem, sampler, seed, cell in _cells(outcome)
    ]


def curve_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return the hypervolume over evaluations per problem and sampler: quartiles, mean and standard deviation."""
    rows: list[Row] = []
    for problem, sampler in _pairs(outcome):
        for evaluations, column in enumerate(outcome.curves(problem, sampler).T, start=1):
            head: Row = {"problem": problem, "sampler": sampler, "evaluations": evaluations}
            rows.append(head | _spread(column[~np.isnan(column)]))
    return rows


def final_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return per problem, checkpoint and sampler the hypervolume, IGD+ and the size of the feasible front.

    IGD+ is the mean distance from the front of everything any sampler found on the problem to the sampler's own front,
    counting only where it is worse (Ishibuchi et al. 2015); objectives scaled, lower is better, empty if nothing was
    feasible.
    """
    rows: list[Row] = []
    for problem in outcome.cells:
        reference = outcome.reference_front(problem)
        for evaluations in outcome.config.checkpoints:
            for sampler in outcome.samplers(problem):
                values = outcome.hypervolumes(problem, sampler, evaluations)
                if not values:
                    continue
                cells = [outcome.cells[problem][sampler][seed] for seed in values]
                distances = [igd_plus(cell.front(evaluations), reference) for cell in cells]
                known = [distance for distance in distances if distance is not None]
                head: Row = {"problem": problem, "evaluations": evaluations, "sampler": sampler}
                tail: Row = {
                    "igd_plus_median": float(np.median(known)) if known else None,
                    "feasible_front_size_mean": float(np.mean([len(cell.front(evaluations)) for cell in cells])),
                }
                rows.append(head | _spread(np.array(list(values.values()))) | tail)
    return rows


def igd_plus(front: Matrix, reference: Matrix) -> float | None:
    """Return IGD+ of a front against a reference front; None if the front is empty.

    >>> igd_plus(np.array([[0.5, 0.5]]), np.array([[0.4, 0.6], [0.6, 0.4]]))
    0.1
    """
    if len(front) == 0:
        return None
    import moocore

    return round(float(moocore.igd_plus(front, ref=reference)), 12)


def comparison_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return the paired tests of the subject against each rival, corrected within a problem and checkpoint."""
    rows: list[Row] = []
    subject = outcome.config.subject
    for problem, evaluations in _checkpoints(outcome):
        ours = outcome.hypervolumes(problem, subject, evaluations)
        family: list[Row] = []
        for rival in outcome.config.rivals:
            theirs = outcome.hypervolumes(problem, rival, evaluations)
            seeds = sorted(set(ours) & set(theirs))
            if not seeds:
                continue
            a, b = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
            family.append(
                {
                    "problem": problem,
                    "evaluations": evaluations,
                    "subject": subject,
                    "rival": rival,
                    "seeds": len(seeds),
                    "mean_difference": float(np.mean(a) - np.mean(b)),
                    "wins": sum(x > y for x, y in zip(a, b, strict=True)),
                    "a12": vargha_delaney(a, b),
                    "p_wilcoxon": wilcoxon_p(a, b),
                }
            )
        corrected = holm([float(row["p_wilcoxon"] or 0.0) for row in family])
        rows += [row | {"p_holm": p} for row, p in zip(family, corrected, strict=True)]
    return rows


def ratio_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return the subject's mean hypervolume over that of the best rival, with its 95 % interval.

    There is a row per problem and checkpoint; without a ratio where no rival with two common seeds has a hypervolume.
    """
    rows: list[Row] = []
    for problem, evaluations in _checkpoints(outcome):
        ours = outcome.hypervolumes(problem, outcome.config.subject, evaluations)
        rivals = {
            rival: values
            for rival in outcome.config.rivals
            if (values := outcome.hypervolumes(problem, rival, evaluations))
        }
        ratio = ratio_to_best(ours, rivals)
        left_out = [rival for rival in outcome.config.rivals if rival not in rivals]
        rows.append(
            {
                "problem": problem,
                "evaluations": evaluations,
                "subject": outcome.config.subject,
                "best_rival": ratio.best if ratio else None,
                "seeds": ratio.seed_count if ratio else len(ours),
                "ratio": ratio.value if ratio else None,
                "low_95": ratio.low if ratio else None,
                "high_95": ratio.high if ratio else None,
                "did_not_come_so_far": " ".join(left_out),
            }
        )
    return rows


def rank_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return the mean rank by mean hypervolume over the problems per checkpoint (1 is best; ties share their mean).

    Only samplers that came so far on every problem are ranked.
    """
    from scipy.stats import rankdata

    rows: list[Row] = []
    for evaluations in outcome.config.checkpoints:
        means = {
            sampler: [_mean(outcome.hypervolumes(problem, sampler, evaluations)) for problem in outcome.cells]
            for sampler in outcome.config.sampler_labels
        }
        complete = {sampler: values for sampler, values in means.items() if None not in values}
        if not complete:
            continue
        ranks = rankdata([[-float(value or 0.0) for value in values] for values in complete.values()], axis=0)
        mean_ranks = ranks.mean(axis=1).tolist()
        rows += [
            {"evaluations": evaluations, "sampler": sampler, "mean_rank": rank, "problems": len(outcome.cells)}
            for sampler, rank in sorted(zip(complete, mean_ranks, strict=True), key=lambda entry: entry[1])
        ]
    return rows


def time_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return the time per suggestion by problem and sampler, evaluations and the shared start left out.

    ``late`` is the last ten suggestions of each cell. Processor time is beside the clock's, because on a busy machine
    only the former says what a suggestion costs.
    """
    rows: list[Row] = []
    for problem, sampler in _pairs(outcome):
        cells = list(outcome.cells[problem][sampler].values())
        clock = np.concatenate([cell.times(SUGGEST) for cell in cells])
        cpu = np.concatenate([cell.times(SUGGEST_CPU) for cell in cells])
        if len(clock) == 0:
            continue
        rows.append(
            {
                "problem": problem,
                "sampler": sampler,
                "suggestions": len(clock),
                "median_s": float(np.median(clock)),
                "p90_s": float(np.percentile(clock, 90)),
                "cpu_median_s": float(np.median(cpu)),
                "late_cpu_median_s": float(
                    np.median(np.concatenate([cell.times(SUGGEST_CPU)[-_LATE:] for cell in cells]))
                ),
                "late_at_trial": max(len(cell.trials) for cell in cells),
            }
        )
    return rows


def reach_rows(outcome: BenchmarkOutcome) -> list[Row]:
    """Return how many evaluations each sampler needs for the mean hypervolume that the best rival ends with.

    ``without_refused`` does not count designs that were refused for what is known of them: they cost no training.
    """
    rows: list[Row] = []
    for problem in outcome.cells:
        last = outcome.config.checkpoints[-1]
        finals = {rival: _mean(outcome.hypervolumes(problem, rival, last)) for rival in outcome.config.rivals}
        known = {rival: value for rival, value in finals.items() if value}
        if not known:
            continue
        best = max(known, key=lambda rival: known[rival] or 0.0)
        target = float(known[best] or 0.0)
        for sampler in outcome.samplers(problem):
            cells = [cell for cell in outcome.cells[problem][sampler].values() if cell.trials]
            counts = [evaluations_to_reach(cell.hypervolumes.tolist(), target) for cell in cells]
            judged = [None if count is None else cell.judged(count) for cell, count in zip(cells, counts, strict=True)]
            rows.append(
                {
                    "problem": problem,
                    "target_hypervolume": target,
                    "target_of": best,
                    "target_evaluations": last,
                    "sampler": sampler,
                    "median_evaluations": median_or_never(counts),
                    "median_without_refused": median_or_never(judged),
                    "seeds_that_reach": sum(count is not None for count in counts),
                    "seeds": len(counts),
                }
            )
    return rows


def evaluations_to_reach(curve: Sequence[float], target: float) -> int | None:
    """Return after how many evaluations a curve first reaches a target; None if it never does.

    >>> evaluations_to_reach([0.1, 0.3, 0.3, 0.6], 0.3), evaluations_to_reach([0.1], 0.3)
    (2, None)
    """
    reached = np.asarray(curve, dtype=float) >= target
    return int(np.argmax(reached)) + 1 if reached.any() else None


def median_or_never(counts: Sequence[int | None]) -> float | None:
    """Return the median of counts of which some are infinite; None if it is itself.

    >>> median_or_never([3, None, 5]), median_or_never([3, None, None])
    (5.0, None)
    """
    value = float(np.median([np.inf if count is None else count for count in counts]))
    return value if np.isfinite(value) else None


def _spread(values: NDArray[np.float64]) -> Row:
    low, middle, high = (float(value) for value in np.percentile(values, [25, 50, 75]))
    return {
        "seeds": len(values),
        "median": middle,
        "quartile_1": low,
        "quartile_3": high,
        "mean": float(values.mean()),
        # Of a sample; one seed has no spread.
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
    }


def _mean(values: dict[int, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _pairs(outcome: BenchmarkOutcome) -> Iterator[tuple[str, str]]:
    return ((problem, sampler) for problem in outcome.cells for sampler in outcome.samplers(problem))


def _checkpoints(outcome: BenchmarkOutcome) -> Iterator[tuple[str, int]]:
    return ((problem, evaluations) for problem in outcome.cells for evaluations in outcome.config.checkpoints)


def _cells(outcome: BenchmarkOutcome) -> Iterator[tuple[str, str, int, CellOutcome]]:
    for problem, by_sampler in outcome.cells.items():
        for sampler, by_seed in by_sampler.items():
            for seed, cell in by_seed.items():
                yield problem, sampler, seed, cell
