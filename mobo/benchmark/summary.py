"""The page of a benchmark: what was compared, how to read it, and the tables that answer it, in Markdown."""

from collections.abc import Sequence

from mobo.base.markdown import cell, table
from mobo.benchmark.cell_record import CellRecord, CellState
from mobo.benchmark.outcomes import BenchmarkOutcome
from mobo.benchmark.tables import Row

_READING = """\
Every sampler starts from the same designs: for each problem and seed the benchmark draws {start} scrambled Sobol points
and shows their outcomes to every sampler before its first suggestion. So samplers are paired by seed. An evaluation is
one design tried, the start included, feasible or not. Hypervolume is scaled: objectives from their fixed ideal (0) to
their fixed reference (1), infeasible designs left out, higher is better."""

_RATIO = """\
`{subject}`'s mean hypervolume over that of the best rival on each problem, with the 95 % interval of a paired bootstrap
over seeds that chooses the best rival anew in every resample, which errs against `{subject}`. A rival that is capped
below the number of evaluations is not compared there. A dash: no rival had a feasible design within the references."""

_COMPARISON = """\
Two-sided Wilcoxon signed-rank tests for pairs with equal seed, Holm's correction over the rivals of one problem and
checkpoint; A12 is the probability that a run of `{subject}` beats one of the rival (0.5: no difference). With {seeds}
seeds the smallest p-value before correction is {smallest:.2g}."""

_REACH = """\
Evaluations until the mean hypervolume is reached that the best rival has after {last} evaluations: the median over
seeds, and how many seeds get there at all within their run. *Without refused*: designs that were refused for what is
known of them beforehand, and so cost no evaluation, are not counted."""

_TIMES = """\
Seconds per suggestion (being told the last outcome and proposing the next design), without evaluations and start. *cpu*
is processor time on one thread; *late* the last ten suggestions of each run."""


def summary_page(outcome: BenchmarkOutcome, tables: dict[str, list[Row]], figures: Sequence[str]) -> str:
    """Return the page.

    Args:
        outcome: What was run.
        tables: Rows by table, as :mod:`mobo.benchmark.tables` makes them.
        figures: Paths of the pictures, relative to the page.
    """
    config = outcome.config
    words = {
        "start": config.initial_trials,
        "subject": config.subject,
        "seeds": len(config.seeds),
        "smallest": 2.0 / 2 ** len(config.seeds),
        "last": config.checkpoints[-1],
    }
    parts = [
        f"# Benchmark {config.name}",
        _what_ran(outcome, tables["cells"]),
        _READING.format(**words),
        "## The best rival, problem by problem",
        _RATIO.format(**words),
        _table(tables["ratios"], ("problem", "evaluations", "best_rival", "seeds", "ratio", "low_95", "high_95")),
        "## Hypervolume: median (first to third quartile)",
        *(_final(tables["final"], evaluations, config.sampler_labels) for evaluations in config.checkpoints),
        "## Mean rank over the problems",
        _table(tables["ranks"], ("evaluations", "sampler", "mean_rank", "problems")),
        "## Pairs",
        _COMPARISON.format(**words),
        _table(
            tables["comparisons"],
            ("problem", "evaluations", "rival", "seeds", "wins", "mean_difference", "a12", "p_wilcoxon", "p_holm"),
        ),
        "## Evaluations needed",
        _REACH.format(**words),
        _table(
            tables["reach"],
            (
                "problem",
                "target_of",
                "target_hypervolume",
                "sampler",
                "median_evaluations",
                "median_without_refused",
                "seeds_that_reach",
                "seeds",
            ),
        ),
        "## Time per suggestion",
        _TIMES,
        _table(
            tables["times"],
            ("problem", "sampler", "suggestions", "median_s", "p90_s", "cpu_median_s", "late_cpu_median_s"),
        ),
        "## Curves",
        "\n".join(f"![{path}]({path})" for path in figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what_ran(outcome: BenchmarkOutcome, cells: Sequence[Row]) -> str:
    config = outcome.config
    counts = {state: sum(row["state"] == state.value for row in cells) for state in CellState}
    counted = ", ".join(f"{count} {state.value}" for state, count in counts.items() if count)
    lines = [
        f"{len(config.problems)} problems, {len(config.samplers)} samplers, {len(config.seeds)} seeds, "
        f"{config.evaluations} evaluations; cells: {counted}. Written by `mobo benchmark`, config in `config.toml`."
    ]
    records = [
        cell.record for samplers in outcome.cells.values() for seeds in samplers.values() for cell in seeds.values()
    ]
    lines.append(_made_with(records))
    notes = sorted(
        {f"- {row['problem']}, {row['sampler']}: {row['state']}, {row['message']}" for row in cells if row["message"]}
    )
    return "\n\n".join(lines) + (
        "\n\nCapped, failed and skipped cells (each kind once):\n\n" + "\n".join(notes) if notes else ""
    )


def _made_with(records: Sequence[CellRecord]) -> str:
    machines = sorted({f"{item.machine['system']}, {item.machine['cores']} cores" for item in records})
    wanted = ("python", "tinyml-mobo-rl", "botorch", "ax-platform", "optuna", "pymoo", "torch")
    versions = {package: sorted({item.versions.get(package, "unknown") for item in records}) for package in wanted}
    listed = ", ".join(f"{package} {' and '.join(found)}" for package, found in versions.items())
    return f"Made on {'; '.join(machines)}, with {listed}."


def _final(rows: Sequence[Row], evaluations: int, samplers: Sequence[str]) -> str:
    """Return one checkpoint's table: a line per problem, a column per sampler."""
    chosen = {(row["problem"], row["sampler"]): row for row in rows if row["evaluations"] == evaluations}
    if not chosen:
        return ""
    there = [sampler for sampler in samplers if any(key[1] == sampler for key in chosen)]
    lines = []
    for problem in dict.fromkeys(key[0] for key in chosen):
        cells = []
        for sampler in there:
            row = chosen.get((problem, sampler))
            cells.append(
                "" if row is None else f"{cell(row['median'])} ({cell(row['quartile_1'])} to {cell(row['quartile_3'])})"
            )
        lines.append([str(problem), *cells])
    return f"After {evaluations} evaluations:\n\n" + table(["problem", *there], lines)


def _table(rows: Sequence[Row], keys: Sequence[str]) -> str:
    if not rows:
        return "Nothing to compare."
    return table([key.replace("_", " ") for key in keys], [[row[key] for key in keys] for row in rows])
