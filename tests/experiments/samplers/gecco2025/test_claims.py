from pathlib import Path

import numpy as np
import pytest

from experiments.samplers.gecco2025.claims import (
    CLAIMS,
    HELD,
    NOT_HELD,
    UNDECIDED,
    PairClaim,
    crossing_verdict,
    front_size,
    gain_after,
    hypervolume_at,
    pair_verdicts,
)
from mobo.benchmark.config import load_benchmark_config
from mobo.benchmark.outcomes import BenchmarkOutcome, read_outcome
from tests.mobo.benchmark.small_benchmarks import config, made_cell, write_cell, write_cells

SEEDS = list(range(8))
ROOT = Path(__file__).resolve().parents[4]


def curves(out: Path, sampler: str, values: np.ndarray, *, seeds: list[int]) -> None:
    """Write cells whose hypervolume after each evaluation is the given one, plus a little per seed."""
    # A point (f1, 0) alone has the hypervolume 1 - f1; a worse one changes nothing.
    cells = [made_cell("zdt1", sampler, seed, [(1.0 - float(v) - 1e-3 * seed, 0.0) for v in values]) for seed in seeds]
    write_cells(out, cells)


def outcome(out: Path, *, seeds: list[int] = SEEDS, evaluations: int = 150) -> BenchmarkOutcome:
    benchmark = config(samplers=["ars_mobopt", "turbo"], evaluations=evaluations, initial_trials=10, seeds=seeds)
    return read_outcome(benchmark, out)


def ahead(at: int) -> PairClaim:
    return PairClaim(text="", source="", more="ars_mobopt", less="turbo", measure=hypervolume_at(at))


# Both share the start. ARS grows by .7/139 an evaluation: .377 after 66 and .382 after 67, TuRBO has .38 there.
ARS = np.concatenate([np.full(10, 0.1), np.linspace(0.1, 0.8, 140)])
TURBO = np.concatenate([np.full(10, 0.1), np.full(57, 0.38), np.full(83, 0.385)])


def test_the_same_claim_is_held_not_held_and_undecided(tmp_path: Path) -> None:
    curves(tmp_path, "ars_mobopt", ARS, seeds=SEEDS)
    curves(tmp_path, "turbo", TURBO, seeds=SEEDS)
    verdicts = pair_verdicts(outcome(tmp_path), "zdt1", [ahead(150), ahead(30), ahead(5)])
    assert [verdict.verdict for verdict in verdicts] == [HELD, NOT_HELD, UNDECIDED]
    # Eight of eight: p = 2 / 2^8, times three for as many claims.
    assert verdicts[0].evidence == "means 0.8035 and 0.3885, ahead in 8 of 8 seeds, corrected p = 0.023"


def test_five_seeds_decide_nothing(tmp_path: Path) -> None:
    curves(tmp_path, "ars_mobopt", ARS, seeds=SEEDS[:5])
    curves(tmp_path, "turbo", TURBO, seeds=SEEDS[:5])
    (verdict,) = pair_verdicts(outcome(tmp_path, seeds=SEEDS[:5]), "zdt1", [ahead(150)])
    assert (verdict.verdict, verdict.seeds) == (UNDECIDED, 5)


def test_what_was_not_run_is_undecided(tmp_path: Path) -> None:
    curves(tmp_path, "ars_mobopt", ARS[:100], seeds=SEEDS)
    curves(tmp_path, "turbo", TURBO, seeds=SEEDS)
    read = outcome(tmp_path)
    late, early = pair_verdicts(read, "zdt1", [ahead(150), ahead(30)])
    assert (late.verdict, late.evidence, late.seeds) == (UNDECIDED, "not run so far", 0)
    # What the others came to is decided as if there were no such claim.
    assert (early.verdict, early.evidence[-5:]) == (NOT_HELD, ".0078")
    assert crossing_verdict(read, "zdt1").evidence == "not run so far"


@pytest.mark.parametrize(
    ("ars", "turbo", "verdict", "evidence"),
    [
        (ARS, TURBO, HELD, "the means cross after 66; 100% of the resamples cross near 67"),
        (TURBO, ARS, NOT_HELD, "ars_mobopt ends behind"),
        (np.maximum(ARS, TURBO + 0.01), TURBO, NOT_HELD, "ars_mobopt is ahead from the start"),
    ],
)
def test_crossing(tmp_path: Path, ars: np.ndarray, turbo: np.ndarray, verdict: str, evidence: str) -> None:
    curves(tmp_path, "ars_mobopt", ars, seeds=SEEDS)
    curves(tmp_path, "turbo", turbo, seeds=SEEDS)
    found = crossing_verdict(outcome(tmp_path), "zdt1")
    assert found.verdict == verdict
    assert found.evidence.startswith(evidence)


def test_a_crossing_of_few_seeds_is_undecided(tmp_path: Path) -> None:
    curves(tmp_path, "ars_mobopt", ARS, seeds=SEEDS[:5])
    curves(tmp_path, "turbo", TURBO, seeds=SEEDS[:5])
    found = crossing_verdict(outcome(tmp_path, seeds=SEEDS[:5]), "zdt1")
    assert (found.verdict, found.seeds) == (UNDECIDED, 5)


def test_measures_by_hand(tmp_path: Path) -> None:
    write_cell(tmp_path, "zdt1", "ars_mobopt", 0, [(0.8, 5.0), (0.5, 8.0), (0.5, 0.0)])
    cell = outcome(tmp_path, evaluations=11).cells["zdt1"]["ars_mobopt"][0]
    assert hypervolume_at(1)(cell) == pytest.approx(0.2 * 0.5)
    assert gain_after(1, 3)(cell) == pytest.approx(0.5 - 0.1)
    assert (front_size(2)(cell), front_size(3)(cell), front_size(4)(cell)) == (2.0, 1.0, None)


def test_every_claim_is_about_samplers_of_the_config() -> None:
    labels = load_benchmark_config(ROOT / "experiments" / "samplers" / "gecco2025" / "comparison.toml").sampler_labels
    assert {claim.more for claim in CLAIMS} | {claim.less for claim in CLAIMS} <= set(labels)
