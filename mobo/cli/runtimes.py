"""``mobo runtimes``."""

from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say, text_table

NAME = "runtimes"
EXAMPLE = "mobo runtimes --json"


def command(as_json: AsJson = False) -> None:
    """List the inference engines: bit widths they execute, cores they cover, and how far each core's figures go."""
    from hw_models.runtime import load_runtime, runtime_names

    runtimes = [load_runtime(name) for name in runtime_names()]
    if as_json:
        print_json([runtime.model_dump(mode="json") for runtime in runtimes])
        return
    for runtime in runtimes:
        # A runtime that nobody timed borrows all its paces from another one.
        reference = runtime.reference_core
        borrowed = "borrowed" if runtime.is_borrowed(reference) else f"borrowed from {reference}"
        say(f"{runtime.name}: {runtime.description}")
        say(f"weight bits {_list(runtime.weight_bits)}; activation bits {_list(runtime.activation_bits)}")
        rows = [
            (
                name,
                borrowed if core.borrowed else "measured",
                f"{core.cycles_per_instruction:.2f}",
                f"{core.cycles_log_std:.2f}",
            )
            for name, core in runtime.cores.items()
        ]
        say(text_table(("core", "cycles per instruction", "value", "spread (log)"), rows))


def _list(values: tuple[int, ...]) -> str:
    return ", ".join(str(value) for value in values)
