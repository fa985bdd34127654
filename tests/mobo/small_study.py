"""The smallest real study: digits, tiny networks, two evaluations a trial. For tests of the whole way."""

from hw_models.graph.layer_graph import Shape
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.hyperparameters import Hyperparameters, hyperparameters
from mobo.tinyml.methods import method_of

TEXT = """
name = "small"
trials = 3
[device]
name = "nucleo-l4r5zi"
[[objectives]]
name = "validation_error"
reference = 1.0
[[objectives]]
name = "flash_model_bytes"
reference = 24576
[[constraints]]
name = "flash_model_bytes"
upper = 24576
[[constraints]]
name = "ram_bytes"
upper = 8192
[[constraints]]
name = "latency_ms"
upper = 10
[sampler]
name = "sobol"
[compression]
method = "random"
evaluations = 2
recovery = {steps = 2}
finetune = {steps = 4}
[space]
epochs = 1
width = {type = "ordinal", values = [8, 12]}
stages = 1
blocks = 1
kernel = 3
stem_stride = 2
"""

TWO_FAMILIES = (
    "network.families=['ds_cnn', 'residual']",
    "space={epochs = 1, "
    "ds_cnn_width = 16, ds_cnn_blocks = {type = 'int', low = 1, high = 2}, ds_cnn_kernel = 3, "
    "ds_cnn_stem_kernel_h = 3, ds_cnn_stem_kernel_w = 3, ds_cnn_stem_stride = 2, ds_cnn_middle_stride = 1, "
    "residual_width = {type = 'ordinal', values = [8, 12]}, residual_stages = {type = 'int', low = 1, high = 2}, "
    "residual_width_growth = {type = 'ordinal', values = [1.5, 2.0], when = {residual_stages = [2]}, otherwise = 1.0}, "
    "residual_blocks = 1, residual_kernel = 3, residual_stem_stride = 2}",
)
"""Overrides that make it a study of two families."""


def small_config(*overrides: str) -> StudyConfig:
    """Return the study with overrides."""
    return parse_config(TEXT, overrides)


def hyperparameters_of(config: StudyConfig, input_shape: Shape) -> Hyperparameters:
    """Return what a study searches and what it fixes, with what its method of compression adds."""
    return hyperparameters(config, input_shape, method_of(config.compression))
