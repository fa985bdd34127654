"""``mobo validate``."""

import typer

from mobo.cli.arguments import Config, Overrides

NAME = "validate"
EXAMPLE = "mobo validate study.toml trials=60"


def command(config: Config, overrides: Overrides = None) -> None:
    """Check a config, its data, board and budgets, and estimate the time, without training anything."""
    from mobo.tinyml.config import load_config
    from mobo.tinyml.validation import validate

    for line in validate(load_config(config, overrides or ())).lines:
        typer.echo(line)
