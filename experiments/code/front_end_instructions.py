"""Count the front ends in C on emulated cores, and fit what ``mobo`` foretells of them.

    python -m experiments.code.front_end_instructions

Writes front ends of many sizes as C, builds them for every emulated core, runs them on noise and a tone, and fits
instructions by how often their loops run (no coefficient below zero, relative errors). Writes
``hw_models/front_ends.toml``: coefficients, the code's flash, the spread; prints the errors, and those of the counts
when each in turn is left out of the fit.
"""

import argparse
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from scipy.optimize import nnls

from envs.compression.policy import CompressionPolicy
from experiments.code.random_networks import random_integers
from hw_models.files import read_toml
from hw_models.front_end import FILE, FrontEndWork, ImageWork, MfccWork, WindowWork
from hw_models.graph.layer_graph import INPUT, Dense, LayerGraph, Reshape, Shape
from mobo.export.c.frontend import fixed
from mobo.export.c.project import export_c
from mobo.export.firmware.elf import Image
from mobo.export.firmware.emulator import CORES
from mobo.export.firmware.image import build_front_end, run_front_end_emulated
from mobo.export.fixed_front_end import FixedFrontEnd, table_bytes
from mobo.export.request import Distance, ExportRequest, Form, FrontEnd, ImageFrontEnd, MfccFrontEnd, WindowFrontEnd
from mobo.tinyml.tasks.front_ends import mfcc_work
from mobo.tinyml.tasks.mfcc import Mfcc

# Rate, samples, coefficients, highest Hz, frame and step in ms, FFT.
_MFCC = (
    (16000, 16000, 10, 4000.0, 30.0, 20.0, None),
    (16000, 8000, 13, 8000.0, 30.0, 20.0, None),
    (16000, 8000, 4, 4000.0, 30.0, 40.0, 1024),
    (16000, 4000, 20, 7000.0, 20.0, 10.0, None),
    (16000, 6000, 40, 4000.0, 60.0, 30.0, None),
    (8000, 8000, 10, 4000.0, 30.0, 20.0, None),
    (8000, 4000, 6, 2000.0, 32.0, 16.0, None),
    (8000, 6000, 1, 4000.0, 60.0, 60.0, 1024),
    (4000, 4000, 10, 2000.0, 30.0, 20.0, None),
    (44100, 22050, 10, 12000.0, 40.0, 30.0, None),
)
# Rows, channels, rows of constants.
_WINDOWS = ((16, 3, 3), (128, 3, 3), (128, 1, 1), (64, 6, 6), (100, 24, 24), (20, 2, 40))
# The camera's image, the network's input, tables.
_IMAGES = (
    ((48, 64, 3), (16, 16, 1), 1),
    ((48, 64, 3), (16, 16, 3), 3),
    ((48, 64, 3), (32, 32, 3), 3),
    ((48, 64, 3), (40, 24, 1), 1),
    ((32, 32, 3), (32, 32, 3), 3),
    ((32, 32, 3), (32, 32, 1), 1),
    ((28, 28, 1), (28, 28, 1), 1),
    ((28, 28, 1), (14, 14, 1), 1),
    ((28, 28, 1), (40, 40, 1), 1),
    ((64, 64, 1), (24, 20, 1), 1),
    ((20, 30, 3), (30, 40, 3), 1),
    ((32, 32, 3), (32, 32, 3), 1),
    ((40, 40, 3), (40, 40, 1), 1),
    ((24, 24, 3), (24, 24, 3), 3),
    ((64, 48, 3), (24, 32, 3), 3),
    ((64, 48, 3), (8, 8, 3), 1),
)
_SEED = 5
_KINDS = ("mfcc", "window", "image")
# Functions of the C, by how their names begin.
_CODE = ("frontend_", "model_frontend")


def main() -> None:
    """Count, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=_KINDS, action="append", help="only this one, the others as they are")
    parser.add_argument("--out", type=Path, default=FILE, help="where the fits go")
    arguments = parser.parse_args()
    asked = arguments.kind or _KINDS
    counted = list(_counted(asked))
    document = tomlkit.document()
    document.add(tomlkit.comment("Written by python -m experiments.code.front_end_instructions; see front_end.py."))
    before = {} if len(asked) == len(_KINDS) else read_toml(arguments.out)
    for core in CORES:
        kinds = tomlkit.table()
        for kind in _KINDS:
            if kind not in asked:
                kinds.add(kind, before[core][kind])
                continue
            rows = [row for row in counted if (row["core"], row["kind"]) == (core, kind)]
            kinds.add(kind, _fitted(core, kind, rows))
        document.add(core, kinds)
    arguments.out.write_text(tomlkit.dumps(document), encoding="utf-8")


def _counted(kinds: Collection[str]) -> Iterator[dict[str, Any]]:
    for work, form in _all():
        if work.kind not in kinds:
            continue
        request = _request(work, form)
        integers = fixed(request)
        assert integers is not None
        # What is foretold of RAM and tables is exact; only the samples are the caller's.
        assert integers.ram_bytes + form.sample_bytes == work.ram_bytes, work
        assert table_bytes(integers) == work.table_bytes, work
        raw = _raw(form)
        with tempfile.TemporaryDirectory() as folder:
            for path, data in export_c(request).items():
                file = Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            for core in CORES:
                image = build_front_end(Path(folder), core)
                found, count, _ = run_front_end_emulated(image, core, raw)
                np.testing.assert_array_equal(found, integers(raw).reshape(len(raw), -1))
                yield {
                    "core": core,
                    "kind": work.kind,
                    "terms": dict(work.terms),
                    "instructions": count,
                    "code_bytes": _code_bytes(image, integers),
                }


def _all() -> Iterator[tuple[FrontEndWork, Form]]:
    for rate, samples, coefficients, highest, frame, step, transform in _MFCC:
        form = MfccFrontEnd(
            sample_rate_hz=rate, clip_samples=samples, coefficients=coefficients, highest_hz=highest, frame_ms=frame,
            step_ms=step, transform=transform,
        )  # fmt: skip
        features = Mfcc(rate, samples, coefficients, highest, frame, step, transform)
        yield mfcc_work(features, "column"), form
    for rows, channels, constants in _WINDOWS:
        yield WindowWork(rows, channels, constants), WindowFrontEnd(length=rows, fraction_bits=(4,) * channels)
    for source, shape, lookups in _IMAGES:
        yield (
            ImageWork(source, shape, lookups),
            ImageFrontEnd(height=source[0], width=source[1], channels=1 if source[2] == 1 else 3),
        )


def _request(work: FrontEndWork, form: Form) -> ExportRequest:
    """Return an export of a front end before a network that reads what it gives."""
    shape = work.shape
    flat = Reshape(name="flat", inputs=(INPUT,))
    dense = Dense(name="dense", inputs=("flat",), weight_bits=8, out_channels=2)
    mean = np.zeros(_constants_shape(work), np.float32)
    return ExportRequest(
        network=random_integers(LayerGraph(shape, (flat, dense)), seed=_SEED),
        policy=CompressionPolicy({}, {}, {}),
        costs={},
        name="front-end",
        run="front-end",
        trial=0,
        purpose="classes",
        class_names=("a", "b"),
        mean=mean,
        deviation=mean + 50.0,
        test_inputs=np.zeros((1, *shape), np.int8),
        test_labels=np.zeros(1, np.int64),
        test_outputs=np.zeros((1, 2), np.int8),
        front_end=FrontEnd(form=form, distance=Distance(inputs=1, values=1, equal=1, largest=0, source="data")),
    )


def _constants_shape(work: FrontEndWork) -> Shape:
    if isinstance(work, WindowWork):
        return (1, work.stage_rows // work.channels, work.channels)
    if isinstance(work, MfccWork):
        return (1, work.stage_rows, 1)
    assert isinstance(work, ImageWork)
    return (1, 1, work.lookups)


def _code_bytes(image: Image, integers: FixedFrontEnd) -> int:
    data = {f"frontend_{name}" for name in (*integers.tables, "stages", "state")}
    return sum(size for name, size in image.sizes.items() if name.startswith(_CODE) and name not in data)


def _raw(form: Form) -> Any:
    """Return noise, and a tone."""
    kind = np.iinfo(form.dtype)
    noise = np.random.default_rng(_SEED).integers(kind.min, kind.max, form.samples, endpoint=True)
    tone = kind.max * 0.4 * (1 + np.sin(0.3 * np.arange(form.samples)))
    return np.stack([noise, tone]).astype(form.dtype)


def _fitted(core: str, kind: str, rows: list[dict[str, Any]]) -> Any:
    """Return the table of a kind on a core, and print how far it is from the counts."""
    names = list(dict.fromkeys(name for row in rows for name in row["terms"]))
    terms = np.array([[row["terms"].get(name, 0.0) for name in names] for row in rows])
    counts = np.array([row["instructions"] for row in rows], np.float64)
    found = _coefficients(terms, counts)
    errors = np.log(terms @ found / counts)
    left_out = [
        float(np.log(terms[one] @ _coefficients(np.delete(terms, one, 0), np.delete(counts, one)) / counts[one]))
        for one in range(len(rows))
    ]
    print(
        f"{core} {kind}: {len(rows)} counts, largest error {100 * np.abs(errors).max():.1f} %, "
        f"left out {100 * np.abs(left_out).max():.1f} % (median {100 * np.median(np.abs(left_out)):.1f} %)"
    )
    table = tomlkit.table()
    coefficients = tomlkit.inline_table()
    for name, value in zip(names, found, strict=True):
        coefficients.add(name, float(f"{value:.4g}"))
    table.add("instructions", coefficients)
    table.add("code_bytes", int(np.median([row["code_bytes"] for row in rows])))
    table.add("log_std", float(f"{np.sqrt(np.mean(np.square(left_out))):.3g}"))
    table.add("rows", len(rows))
    return table


def _coefficients(terms: Any, counts: Any) -> Any:
    """Return the fit by relative errors; scaled, for the terms differ by orders of magnitude."""
    scales = terms.max(axis=0)
    solution, _ = nnls(terms / scales / counts[:, None], np.ones(len(counts)))
    return solution / np.where(scales > 0, scales, 1.0)


if __name__ == "__main__":
    main()
