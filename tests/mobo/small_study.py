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


def small_config(*overrides: str) -> StudyConfig:
    """Return the study with overrides."""
    return parse_config(TEXT, overrides)


def hyperparameters_of(config: StudyConfig, input_shape: Shape) -> Hyperparameters:
    """Return what a study searches and what it fixes, with what its method of compression adds."""
    return hyperparameters(config, input_shape, method_of(config.compression))
