"""``mobo verify``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mobo.cli.arguments import AsJson
from mobo.cli.output import UNKNOWN, print_json, text_table

NAME = "verify"
EXAMPLE = "mobo verify exported/quickstart-8 --device nucleo-l4r5zi"
BROKEN = 1


def command(
    exported: Annotated[Path, typer.Argument(metavar="DIR", help="Folder made by `mobo export`.", show_default=False)],
    device: Annotated[
        str | None, typer.Option(help="Board to predict for (default: the one of the run).", show_default=False)
    ] = None,
    device_file: Annotated[Path | None, typer.Option(help="TOML file with a board of your own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run an exported model on test data in every interpreter at hand, and compare with what was promised.

    Writes verify.json into the folder. Exit code 1: a promise is broken.
    """
    from hw_models.device import load_device
    from mobo import atomic_write
    from mobo.export.exported_model import VERIFICATION, read_export
    from mobo.export.verification.checks import verify

    model = read_export(exported)
    board = load_device(device or model.manifest.device, extra_file=device_file)
    verification = verify(model, board)
    found = verification.to_dict()
    atomic_write.write_text(exported / VERIFICATION, json.dumps(found, indent=1) + "\n")
    if as_json:
        print_json(_rows(found))
    else:
        typer.echo(_text(found))
    if verification.broken:
        raise typer.Exit(BROKEN)


def _rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one object per row, and one per skipped check."""
    rows = []
    for check in found["checks"]:
        name = {"check": check["check"]}
        rows += [name | row for row in check["rows"]] or [name | {"skipped": check["skipped"]}]
    return rows


def _text(found: dict[str, Any]) -> str:
    lines = [f"{found['name']} for {found['device']}"]
    rows = [
        (
            check["check"],
            row["quantity"],
            _figure(row["predicted"]),
            _figure(row["measured"]),
            UNKNOWN if row["ratio"] is None else f"{row['ratio']:.2f}",
            {True: "holds", False: "BROKEN", None: ""}[row["holds"]],
        )
        for check in found["checks"]
        for row in check["rows"]
    ]
    lines.append(text_table(("check", "quantity", "predicted", "measured", "ratio", "promise"), rows))
    for check in found["checks"]:
        if check["skipped"]:
            lines.append(f"skipped: {check['check']}: {check['skipped']}")
        lines += [f"{check['check']}, {row['quantity']}: {row['note']}" for row in check["rows"] if row["note"]]
    skipped = sum(1 for check in found["checks"] if check["skipped"])
    held = "every promise holds" if not skipped else f"every promise that was checked holds ({skipped} checks skipped)"
    lines.append(held if found["holds"] else "a promise is broken")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4f}"
