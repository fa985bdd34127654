"""``mobo validate``."""

from mobo.cli.arguments import Config, Overrides
from mobo.cli.output import say

NAME = "validate"
EXAMPLE = "mobo validate study.toml trials=60"


def command(config: Config, overrides: Overrides = None) -> None:
    """Check a config, its data, board and budgets, and estimate the time, without training anything."""
    from mobo.tinyml.config_file import load_config
    from mobo.validation import validate

    study = load_config(config, overrides or ())
    for line in validate(study).lines:
        say(line)
    if study.goal is not None:
        from mobo.goal.preview import preview

        for line in preview(study):
            say(line)
