"""What ``mobo compress`` found, for people and as an object."""

from typing import Any

from hw_models.cost import COST_NAMES
from mobo.cli.output import number, quantity, text_table
from mobo.runs.compress import Comparison
from mobo.space.error_scale import UNKNOWN, ErrorScale


def comparison_text(comparison: Comparison, scale: ErrorScale) -> str:
    """Return errors and costs before and after, and the policy layer by layer."""
    before = comparison.before
    title = (
        f"{before.device} at {before.clock_mhz:g} MHz, {before.runtime}; "
        f"{comparison.policies} policies measured, seed {comparison.seed}"
    )
    power = f"energy is of {before.power.described}"
    return "\n".join(["", title, _table(comparison, scale), power, "", _policy(comparison), ""])


def comparison_object(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values; what was not read is null."""
    before, test = comparison.before, comparison.test
    return {
        "device": before.device,
        "clock_mhz": before.clock_mhz,
        "runtime": before.runtime,
        "power": before.power._asdict(),
        "policies": comparison.policies,
        "seed": comparison.seed,
        "float_validation_error": comparison.validation.before,
        "validation_error": comparison.validation.after,
        "float_test_error": None if test is None else test.before,
        "test_error": None if test is None else test.after,
        "uncompressed": {name: before.value(name) for name in COST_NAMES},
        "compressed": {name: comparison.after[name] for name in COST_NAMES},
        "limits": dict(comparison.limits),
        "layers": [
            {
                "layer": entry.layer,
                "channels": entry.channels,
                "kept_channels": entry.kept_channels,
                "weight_bits": entry.weight_bits,
            }
            for entry in comparison.layers
        ],
    }


def _table(comparison: Comparison, scale: ErrorScale) -> str:
    pairs = [("validation", comparison.validation), ("test", comparison.test)]
    errors = [
        (
            f"{scale.called(split)} {scale.unit}",
            f"{scale.number(pair.before)} (float)",
            scale.number(pair.after),
            UNKNOWN,
            UNKNOWN,
        )
        for split, pair in pairs
        if pair is not None
    ]
    costs = [_cost_row(comparison, name) for name in COST_NAMES]
    return text_table(("", "uncompressed int8", "compressed", "times smaller", "limit"), [*errors, *costs])


def _cost_row(comparison: Comparison, name: str) -> tuple[str, ...]:
    before, after, limit = comparison.before.value(name), comparison.after[name], comparison.limits.get(name)
    return (
        name,
        quantity(name, before),
        UNKNOWN if after is None else quantity(name, after),
        number(before / after) if after else UNKNOWN,
        UNKNOWN if limit is None else quantity(name, limit),
    )


def _policy(comparison: Comparison) -> str:
    rows = [
        (entry.layer, number(entry.channels, 0), str(entry.kept_channels), str(entry.weight_bits))
        for entry in comparison.layers
    ]
    return text_table(("layer", "channels", "kept", "weight bits"), rows)
