"""``mobo export``."""

from pathlib import Path
from typing import Annotated

import typer

from mobo.cli.arguments import Run
from mobo.cli.output import say
from mobo.export.formats import FIRMWARE, FORMATS

NAME = "export"
EXAMPLE = "mobo export runs/quickstart-001 8 --format tflite --out exported/quickstart-8"


def command(
    run: Run,
    trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Number of a finished trial.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to make; it must not exist.", show_default=False)],
    formats: Annotated[
        list[str], typer.Option("--format", help=f"{', '.join(FORMATS)}; give it several times for several formats.")
    ] = ["tflite"],  # noqa: B006, typer reads the default and never changes it
    board: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Board of the firmware (see `mobo devices`), or a machine of QEMU, e.g. mps2-an386 (default: the "
            "run's board).",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What runs the network in the firmware: mobo-c, the C of the model (default), or tflm, TensorFlow "
            "Lite Micro with the tflite file.",
            show_default=False,
        ),
    ] = None,
    searched: Annotated[
        bool, typer.Option("--searched", help="The model that the search made, though it was trained again since.")
    ] = False,
    patches: Annotated[
        str | None,
        typer.Option(
            metavar="auto|none|N",
            help="Run the first layers of the C in N patches, which takes less RAM and more time: as many as the RAM "
            "asks for (auto, the default), none, or N where the RAM falls most.",
            show_default=False,
        ),
    ] = None,
    ram_kib: Annotated[
        float | None, typer.Option(help="Largest arena of the C (default: the board's RAM).", show_default=False)
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Keep at most so many samples to verify with (default: up to 16 MiB).")
    ] = None,
) -> None:
    """Write the model of a trial as files that an embedded engineer can build, with all that is needed to verify them.

    All files are written, or none; a folder that exists is refused.
    """
    from mobo.export.c.frontend import front_end_line
    from mobo.export.c.patching import AUTO, AskedPatches
    from mobo.export.trial_export import export_trial
    from mobo.runs.record import read_run

    limit = None if ram_kib is None else ram_kib * 1024
    asked = None if patches is None and limit is None else AskedPatches(patches or AUTO, limit)
    export = export_trial(
        read_run(run),
        trial,
        formats,
        out,
        max_samples=samples,
        board=board,
        engine=engine,
        searched=searched,
        patches=asked,
    )
    for note in export.notes:
        say(f"note: {note}", err=True)
    manifest = export.model.manifest
    for name, files in manifest.formats.items():
        for file in files:
            say(str(export.model.path / name / file))
    if (front_end := front_end_line(export.model.request)) is not None:
        say(front_end, err=True)
    say(f"verify it with: mobo verify {out}", err=True)
    if manifest.board is not None:
        say(
            f"measure it with: mobo measure {out} --port PORT (build it first: {out / FIRMWARE / 'README.md'})",
            err=True,
        )
