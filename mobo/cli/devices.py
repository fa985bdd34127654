"""``mobo devices``."""

from typing import Any

from mobo.cli.arguments import AsJson
from mobo.cli.output import number, print_json, say, text_table
from mobo.space.error_scale import UNKNOWN

NAME = "devices"
EXAMPLE = "mobo devices --json"


def command(as_json: AsJson = False) -> None:
    """List the boards, their limits, and the runtime a search would use ("-": listed, but cannot be searched).

    The last column names the groups of kernels that were measured on the board's core under that runtime; the pace of
    the others is borrowed from other engines and cores. The power is that of the supply beside it.
    """
    from hw_models.device import load_devices
    from hw_models.runtime import default_runtime

    objects: list[dict[str, Any]] = []
    for device in load_devices().values():
        runtime = default_runtime(device)
        objects.append(
            {
                **device.model_dump(mode="json"),
                "runtime": None if runtime is None else runtime.name,
                "borrowed": None if runtime is None else runtime.is_borrowed(device.core),
                "measured_rows": {}
                if runtime is None
                else {group: timing.rows for group, timing in runtime.core(device.core).timings.items()},
            }
        )
    if as_json:
        print_json(objects)
        return
    headers = (
        "device",
        "core",
        "MHz",
        "flash KiB",
        "SRAM KiB",
        "power mW",
        "at V",
        "runtime",
        "latency",
        "measured kernels",
    )
    say(text_table(headers, [_row(entry) for entry in objects]))


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        entry["name"],
        entry["core"],
        f"{entry['clock_mhz']:g}",
        f"{entry['flash_kib']:g}",
        f"{entry['sram_kib']:g}",
        number(entry["inference_power_mw"]),
        number(entry["power_supply_v"]),
        entry["runtime"] or UNKNOWN,
        {True: "borrowed core", False: "measured core", None: UNKNOWN}[entry["borrowed"]],
        " ".join(group for group, rows in entry["measured_rows"].items() if rows) or UNKNOWN,
    )
