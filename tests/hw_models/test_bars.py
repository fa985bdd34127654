"""How often bars held: the sentence, and the figures that the shipped runtimes carry."""

import pytest

from hw_models.bars import bars_held
from hw_models.calibration.shipped import judged_runtimes
from hw_models.errors import HardwareModelError
from hw_models.runtime import Runtime, load_runtime, runtime_names


def with_bars(runtime: Runtime, core: str, *, held: int, judged: int) -> Runtime:
    model = runtime.cores[core].model_copy(update={"bars_held": held, "bars_judged": judged})
    return runtime.model_copy(update={"cores": dict(runtime.cores) | {core: model}})


def test_an_engine_that_was_judged_on_the_core_speaks_for_itself() -> None:
    runtime = with_bars(load_runtime("plumerai"), "cortex-m4", held=3, judged=5)
    assert bars_held(runtime, "cortex-m4") == (
        "of 5 networks measured with plumerai on cortex-m4, each foretold by a fit that had not seen it, 3 lay inside "
        "their 80 % bar"
    )


def test_of_one_that_was_not_all_others_are_told() -> None:
    runtime = with_bars(load_runtime("plumerai"), "cortex-m4", held=0, judged=0)
    cores = [core for name in runtime_names() for core in load_runtime(name).cores.values()]
    held, judged = sum(core.bars_held for core in cores), sum(core.bars_judged for core in cores)
    assert 0.7 * judged < held < judged
    assert bars_held(runtime, "cortex-m4") == (
        f"no measured network was foretold for plumerai on cortex-m4; of {judged} on other cores or engines, {held} lay "
        "inside their 80 % bar"
    )


def test_a_core_the_engine_does_not_run_on_is_refused() -> None:
    with pytest.raises(HardwareModelError, match="cortex-a53"):
        bars_held(load_runtime("plumerai"), "cortex-a53")


@pytest.mark.slow
def test_the_shipped_figures_come_out_of_the_shipped_table() -> None:
    for name, runtime in judged_runtimes().items():
        shipped = load_runtime(name)
        for core, model in runtime.cores.items():
            assert model.bars_judged == shipped.cores[core].bars_judged, (name, core)
            # A bar that just holds may just not hold with other last digits.
            assert model.bars_held == pytest.approx(shipped.cores[core].bars_held, abs=1), (name, core)
