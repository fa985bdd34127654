"""A config that runs in seconds: digits, a tiny network, one epoch."""

from experiments.compression.promise.config import PromiseConfig
from mobo.base.toml_models import parse_toml

TEXT = """
name = "small"
title = "digits, tiny"
kind = "typical"
seeds = 2
selection_seeds = 1
tolerance_points = 100.0
[task]
name = "digits"
[network]
family = "cnn1d"
[space]
width = 8
layers = 3
width_growth = 1.0
kernel = 3
pool = 2
[[recipes]]
learning_rate = 0.003
weight_decay = 0.01
epochs = 1
[[recipes]]
learning_rate = 0.01
weight_decay = 0.01
epochs = 1
[width]
parameter = "width"
values = [4, 8]
epochs = 1
trained = 1
[[ladder]]
name = "half"
space = {keep = 0.5}
compression = {method = "fixed", recovery = {steps = 1}, finetune = {steps = 2, distillation_weight = 0.5}}
"""


def small_promise(*overrides: str) -> PromiseConfig:
    """Return the config with overrides."""
    return parse_toml(PromiseConfig, TEXT, overrides, source="small", example="")
