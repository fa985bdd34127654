"""The arguments that more than one command takes."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="TOML file of a study.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="key=value", help="Changes to the config, e.g. compression.evaluations=8.", show_default=False
    ),
]
Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a run, e.g. runs/quickstart-001.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a list of objects instead of text.")]
