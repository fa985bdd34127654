"""``mobo verify``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mobo.cli.arguments import AsJson
from mobo.cli.output import print_json, say, verification_summary, verification_text
from mobo.tinyml.model_names import VERIFICATION

NAME = "verify"
EXAMPLE = "mobo verify exported/quickstart-8 --device nucleo-l4r5zi"
BROKEN = 1


def command(
    exported: Annotated[Path, typer.Argument(metavar="DIR", help="Folder made by `mobo export`.", show_default=False)],
    device: Annotated[
        str | None, typer.Option(help="Board to predict for (default: the one of the run).", show_default=False)
    ] = None,
    device_file: Annotated[Path | None, typer.Option(help="TOML file with a board of your own.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Print every row and note, not only the summary.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run an exported model on test data in every interpreter at hand, and compare with what was promised.

    Writes every row to verify.json in the folder. Exit code 1: a promise is broken.
    """
    from hw_models.device import load_device
    from mobo.export.exported_model import read_export
    from mobo.export.verify.c_costs import emulated_core
    from mobo.export.verify.checks import verify

    model = read_export(exported)
    board = load_device(device or model.manifest.device, extra_file=device_file)
    verification = verify(model, board)
    verification.write(exported)
    found = verification.to_dict()
    if as_json:
        print_json(_rows(found))
    elif show_all:
        say(verification_text(found))
    else:
        say(verification_summary(found, emulated_core(board.core), exported / VERIFICATION))
    if verification.broken:
        raise typer.Exit(BROKEN)


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one object per row, and one per skipped check."""
    rows = []
    for check in found["checks"]:
        name = {"check": check["check"]}
        rows += [name | row for row in check["rows"]] or [name | {"skipped": check["skipped"]}]
    return rows
