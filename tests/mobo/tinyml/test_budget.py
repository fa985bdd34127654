"""Bounds from the config and from the chip."""

from hw_models.device import load_device
from mobo.tinyml.budget import all_constraints, budget_of
from mobo.tinyml.config import parse_config

BASE = """
name = "tiny"
trials = 4
device = {name = "nucleo-l4r5zi"}
objectives = [{name = "validation_error", reference = 0.5}]
constraints = [
  {name = "flash_model_bytes", upper = 1000},
  {name = "ram_bytes", upper = 1e9},
  {name = "latency_ms", upper = 8},
  {name = "validation_error", upper = 0.4},
]
"""


def test_the_chip_itself_bounds_what_the_config_leaves_open() -> None:
    device = load_device("nucleo-l4r5zi")
    bounds = {c.name: c.upper for c in all_constraints(parse_config(BASE), device)}
    assert bounds["ram_bytes"] == device.arena_bytes == 640 * 1024
    assert bounds["flash_image_bytes"] == 2048 * 1024
    assert bounds["flash_model_bytes"] == 1000


def test_a_bound_on_the_error_is_not_a_cost() -> None:
    constraints = all_constraints(parse_config(BASE), load_device("nucleo-l4r5zi"))
    assert "validation_error" not in budget_of(constraints).limits
