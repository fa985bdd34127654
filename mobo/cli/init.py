"""``mobo init``."""

from pathlib import Path
from typing import Annotated

import typer

from mobo.cli.output import say

NAME = "init"
EXAMPLE = "mobo init recordings --device nucleo-l4r5zi, then mobo search study.toml"


def command(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder with one subfolder per class (images, .wav or .csv files), or an .npz file.",
            show_default=False,
        ),
    ],
    device: Annotated[str, typer.Option(help="Board the model shall run on (see `mobo devices`).", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="CONFIG.toml", help="Config to write; none may be there.")] = Path(
        "study.toml"
    ),
    device_file: Annotated[Path | None, typer.Option(help="TOML file with a board of your own.")] = None,
) -> None:
    """Write a first config for your data and a board; it looks at the data: kind, shapes, groups, classes.

    What was seen stands in the config as comments. It can be searched as it is, and is meant to be changed.
    """
    from hw_models.device import load_device
    from mobo.base import atomic_write
    from mobo.base.errors import MoboError
    from mobo.tinyml.config import parse_config
    from mobo.tinyml.config_file import load_config
    from mobo.tinyml.starter import starter_config
    from mobo.tinyml.tasks import load_task

    if out.exists():
        raise MoboError(f"{out} exists already; give another name with --out")
    board = load_device(device, extra_file=device_file)
    text = starter_config(data, board, place=out.parent)
    if device_file is not None:
        text = text.replace("[device]\n", f"[device]\nfile = {str(device_file.resolve())!r}\n")
    parse_config(text, source=str(out))
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write.write_text(out, text)
    loaded = load_task(load_config(out).task)
    height, width, channels = loaded.input_shape
    parts = f"{len(loaded.train)} train, {len(loaded.reward)} reward, {len(loaded.validation)} validation samples"
    say(f"written {out}: input {height}x{width}x{channels}, {loaded.labels_text}; {parts}")
    say(f"next: mobo validate {out}, mobo search {out}")
