"""Search from Python, and look at the front as a pandas DataFrame.

python -m experiments.examples.search_from_python [--out runs/from-python]
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import mobo

if TYPE_CHECKING:
    from pandas import DataFrame

STUDY = """
name = "from-python"
trials = 4

[device]
name = "nucleo-l4r5zi"

[[objectives]]
name = "validation_error"
reference = 1.0

[[objectives]]
name = "flash_model_bytes"
unit = "bytes"
reference = 24576

[[constraints]]
name = "ram_bytes"
unit = "bytes"
upper = 8192

[sampler]
name = "sobol"

[compression]
method = "uniform"
evaluations = 1

[compression.recovery]
steps = 5

[compression.finetune]
steps = 20

[space]
width = {type = "ordinal", values = [8, 12]}
kernel = 3
stages = 2
blocks = 1
epochs = 2
"""


def main(
    out: Annotated[Path, typer.Option(help="Folder of the run; it must not exist.")] = Path("runs/from-python"),
) -> None:
    """Search, then print the front and the model that errs least within half the memory."""
    front = search(out)
    print(front[["validation_error", "test_error", "flash_model_bytes", "ram_bytes", "design_width"]].to_string())
    small = front[front.ram_bytes <= 4096]
    if not small.empty:
        print(f"within 4 KiB of RAM: trial {small.validation_error.idxmin()}")


def search(out: Path) -> "DataFrame":
    """Run the study and return its front, a row a trial."""
    config = mobo.parse_config(STUDY, ["seed=1"])
    run = mobo.prepare_run(config, out=out, resume=False)
    mobo.run_search(config, run, on_event=lambda event: print(f"{event.kind}: trial {event.trial.number}"))
    return mobo.read_run(run.path).front_frame()


if __name__ == "__main__":
    typer.run(main)
