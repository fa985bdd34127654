"""Train, export and verify a small model of every network family: ``python -m experiments.code.verify_families``.

Each is a search of one trial on data of its kind (folder ``MOBO_DATA_DIR``), compressed by random policies, so that
channels and widths of weights are mixed. Its export is verified as `mobo pick ... --export --verify` does: in LiteRT
and TFLM, on this machine and on emulated cores, on the whole test split. Writes ``families.csv`` (every row of every
verification) and ``README.md`` to ``results/code/verification``; exit code 1 when a promise is broken.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hw_models.device import Device, load_device
from mobo.base import markdown
from mobo.base.atomic_write import write_text
from mobo.deliver import Delivery, deliver_trial
from mobo.export.verify.findings import Verification
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.search import run_search
from mobo.tinyml.config import StudyConfig, parse_config

_CONFIG = """
seed = 7
trials = 1
[device]
name = "nucleo-l4r5zi"
runtime = "mobo-c"
[sampler]
name = "sobol"
[compression]
method = "random"
evaluations = 6
[[objectives]]
name = "validation_error"
reference = 1.0
[[objectives]]
name = "flash_model_bytes"
unit = "bytes"
reference = 262144
[[objectives]]
name = "latency_ms"
unit = "ms"
reference = 1000
[[constraints]]
name = "flash_model_bytes"
unit = "bytes"
upper = 262144
[[constraints]]
name = "ram_bytes"
unit = "bytes"
upper = 196608
[[constraints]]
name = "latency_ms"
unit = "ms"
upper = 1000
"""
_DIGITS = 'name = "digits"\n'
_KEYWORDS = (
    'name = "npz"\nfile = "speech_commands_12.npz"\nlayout = "hw"\nstandardise = "column"\n'
    'group_key = "speaker_train"\ntest_group_key = "speaker_test"\n'
)
_MOVEMENTS = (
    'name = "npz"\nfile = "wisdm_watch_accel.npz"\nlayout = "length_channels"\n'
    'group_key = "subject_train"\ntest_group_key = "subject_test"\n'
)
STUDIES: Mapping[str, tuple[str, str]] = {
    "residual": (_DIGITS, "width = 12\nstages = 3\nblocks = 1\nkernel = 3\nstem_stride = 1\nepochs = 15\n"),
    "ds_cnn": (_KEYWORDS, "width = 32\nblocks = 3\nepochs = 10\n"),
    "mobilenet_v1": (_DIGITS, "width_multiplier = 0.25\nstages = 4\nwide_blocks = 2\nepochs = 15\n"),
    "mobilenet_v3": (_DIGITS, "width_multiplier = 0.35\nstages = 3\nkernel = 3\nstem_stride = 1\nepochs = 15\n"),
    "cnn1d": (_MOVEMENTS, "width = 12\nlayers = 4\nepochs = 4\n"),
}
"""Family -> its task, and the hyperparameters that are fixed."""


def main() -> None:
    """Train, export, verify, write, print."""
    verify_families(verified, summary, description=__doc__, table="families.csv", page="README.md")


def verify_families(
    verified: Callable[[str], Iterable[dict[str, Any]]],
    summary: Callable[[pd.DataFrame], str],
    *,
    description: str | None,
    table: str,
    page: str,
) -> None:
    """Verify the families named on the command line; exits with 1 when a promise is broken.

    Args:
        verified: Returns the rows of a family's model.
        summary: Returns the page of all rows so far.
        description: What the command does.
        table: Name of the CSV file.
        page: Name of the page.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--family", choices=STUDIES, action="append", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("results/code/verification"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    # A check judges the code of today: it keeps no rows of an earlier one.
    rows: list[dict[str, Any]] = []
    for family in arguments.family or STUDIES:
        rows += verified(family)
        frame = pd.DataFrame(rows)
        write_text(arguments.out / table, frame.to_csv(index=False))
        write_text(arguments.out / page, summary(frame))
    print(summary(frame))
    sys.exit(0 if frame["holds"].dropna().all() else 1)


def config_of(family: str, *overrides: str) -> StudyConfig:
    """Return the study of a family, with overrides as on the command line."""
    task, fixed = STUDIES[family]
    name = family.replace("_", "-")
    text = f'name = "{name}"\n{_CONFIG}[task]\n{task}[network]\nfamily = "{family}"\n[space]\n{fixed}'
    return parse_config(text, overrides)


def verified(family: str) -> Iterator[dict[str, Any]]:
    """Yield every row of the verification of one trained model."""
    config = config_of(family)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder, family), config_toml=config.to_toml())
        run_search(config, run, resume=False, on_event=lambda event: None)
        done = deliver_trial(read_run(run.path), 0, Path(folder, "exported"), board_of(config), verified=True)
        yield from described_rows(family, done)


def board_of(config: StudyConfig) -> Device:
    """Return the board of a study."""
    return load_device(config.device.name)


def described_rows(family: str, done: Delivery) -> Iterator[dict[str, Any]]:
    """Yield every row of a verification with what its model is."""
    graph = done.export.model.network.graph
    weights = [layer.weight_bits for layer in graph.weight_layers]
    activations = [layer.output_bits for layer in graph.weight_layers]
    described = {
        "family": family,
        "input": "x".join(map(str, graph.input_shape)),
        "macs": graph.macs,
        "layers_of_8_bits": weights.count(8),
        "layers_of_4_bits": weights.count(4),
        "layers_of_16_bit_activations": activations.count(16),
    }
    if done.verification is not None:
        yield from ({**described, **row} for row in _rows(done.verification))


def _rows(verification: Verification) -> Iterator[dict[str, Any]]:
    for check in verification.to_dict()["checks"]:
        if check["skipped"]:
            yield {"check": check["check"], "quantity": f"skipped: {check['skipped']}"}
        for row in check["rows"]:
            yield {"check": check["check"], **row}


def summary(table: pd.DataFrame) -> str:
    """Return the verifications as Markdown: one line per family, then predicted beside measured."""
    shown = table["quantity"].str.contains(
        r"^(?:arena_bytes|flash_bytes|instructions), cortex|^(?:planned|persistent)_arena_bytes$"
    )
    families = markdown.table(
        (
            "family", "input", "MACs", "layers of 8, 4 bits", "error stored", "interpreter, LiteRT, TFLM, C",
            "promises kept",
        ),
        [_family_row(family, rows) for family, rows in table.groupby("family", sort=False)],
    )  # fmt: skip
    figures = markdown.table(
        ("family", "quantity", "predicted", "measured", "ratio"),
        [_figures_row(row) for row in table[shown].to_dict("records")],
    )
    return _PAGE.format(found=table["family"].nunique(), all=len(STUDIES), families=families, figures=figures)


_PAGE = """\
# Trained models verified: network families, {found} of {all}

By `python -m experiments.code.verify_families`; every row of every check is in `families.csv`. The errors are on
the whole test split. The networks are small and little trained: what is shown is that they stay the same.

{families}

Predicted and measured on emulated cores (runtime `mobo-c`), and the arena of the TFLM interpreter:

{figures}
"""


def _figures_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    # Where the runtime was not fitted on the core, nothing was predicted.
    predicted, ratio = ("–", "–") if pd.isna(row["predicted"]) else (f"{row['predicted']:,.0f}", f"{row['ratio']:.3f}")
    note = " (slow output stage)" if "slow output stage" in row["note"] else ""
    return row["family"], f"{row['quantity']}{note}", predicted, f"{row['measured']:,.0f}", ratio


def _family_row(family: object, rows: pd.DataFrame) -> tuple[object, ...]:
    first = rows.iloc[0]
    bits = f"{first['layers_of_8_bits']}, {first['layers_of_4_bits']}"
    return (family, first["input"], f"{first['macs']:,}", bits, *errors_and_promises(rows))


def errors_and_promises(rows: pd.DataFrame) -> tuple[str, str, str]:
    """Return three cells of one model: the error stored, the errors measured, how many promises it kept."""
    errors, promised = rows[rows["quantity"].str.startswith("error on")], rows["holds"].dropna()
    measured = ", ".join(f"{value:.4f}" for value in errors["measured"])
    return f"{errors['predicted'].iloc[0]:.4f}", measured, f"{int(promised.sum())} of {len(promised)}"


if __name__ == "__main__":
    main()
