"""How often the latency bars of an engine held where it could be judged: networks that its fit had not seen."""

from collections.abc import Iterable

from hw_models.runtime import CoreModel, Runtime, load_runtime, runtime_names


def bars_held(runtime: Runtime, core: str) -> str:
    """Return a sentence on how often 80 % bars held: of this engine on this core, else of all engines and cores.

    Raises:
        RuntimeModelError: The runtime does not run on the core.
    """
    model = runtime.core(core)
    if model.bars_judged:
        return (
            f"of {model.bars_judged} networks measured with {runtime.name} on {core}, each foretold by a fit that had "
            f"not seen it, {model.bars_held} lay inside their 80 % bar"
        )
    held, judged = _counts(model for name in runtime_names() for model in load_runtime(name).cores.values())
    return (
        f"no measured network was foretold for {runtime.name} on {core}; of {judged} on other cores or engines, "
        f"{held} lay inside their 80 % bar"
    )


def _counts(models: Iterable[CoreModel]) -> tuple[int, int]:
    pairs = [(model.bars_held, model.bars_judged) for model in models]
    return sum(held for held, _ in pairs), sum(judged for _, judged in pairs)
