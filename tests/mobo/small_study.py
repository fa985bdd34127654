"""The smallest real study: digits, tiny networks, two evaluations a trial. For tests of the whole way."""

from mobo.tinyml.config import StudyConfig, parse_config

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
