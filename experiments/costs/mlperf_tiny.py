"""MLPerf Tiny's four networks on one board, and what a short search finds beside the two that there is data for.

    python -m experiments.costs.mlperf_tiny --out runs/mlperf-tiny --minutes 3

Costs are of all four reference networks (`reference_networks`), in int8. For keywords and images the reference network
is trained here, on the subsets at hand, and a search trains its designs in the same way: the same splits, epochs and
fine-tuning; the architecture, the share of channels kept, the bit widths and the learning rate are chosen by the
sampler, of the reference network only the learning rate, once. What a design may cost at most is what the reference
network costs. Errors are those of the integer networks. Resumable: what is there already is only continued.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from experiments.costs.reference_networks import REFERENCE_NETWORKS
from hw_models.cost import Cost, estimate
from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.base.markdown import table
from mobo.runs.record import RunRecord, read_run
from mobo.runs.start import prepare_run
from mobo.search import run_search
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config

DEVICE, RUNTIME = "nucleo-l4r5zi", "tflm-cmsis-nn"


class Benchmark(NamedTuple):
    """One of the four.

    Attributes:
        title: What it does.
        network: Key of its network in ``REFERENCE_NETWORKS``.
        target: Quality target of the closed division.
        task: Name of the task here; empty where no data is at hand.
        family: Family of the network here.
        reference: The reference network as a design of its family.
        epochs: Of every training.
    """

    title: str
    network: str
    target: str
    task: str = ""
    family: str = ""
    reference: Mapping[str, Any] = {}
    epochs: int = 0


# Targets: C. Banbury et al., MLPerf Tiny Benchmark (arXiv 2106.07597), table 1.
BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        "keyword spotting", "kws_ref_model", "90 % of the clips", "keywords", "ds_cnn",
        {"width": 64, "blocks": 4, "kernel": 3, "stem_kernel_h": 10, "stem_kernel_w": 4, "stem_stride": 2,
         "middle_stride": 1},
        15,
    ),
    Benchmark(
        "image classification", "pretrainedResnet_quant", "85 % of the images", "cifar10", "residual",
        {"width": 16, "stages": 3, "blocks": 1, "width_growth": 2.0, "kernel": 3, "stem_stride": 1},
        5,
    ),
    Benchmark("visual wake words", "vww_96_int8", "80 % of the images"),
    Benchmark("anomaly detection", "ad01_int8", "AUC of 0.85"),
)  # fmt: skip

_STUDY = """
name = "mlperf-tiny-{name}"
seed = {seed}
{length}
[task]
name = "{task}"
[network]
family = "{family}"
[device]
name = "{device}"
runtime = "{runtime}"
[[objectives]]
name = "validation_error"
reference = 0.5
[[objectives]]
name = "flash_model_bytes"
unit = "bytes"
reference = {flash_model_bytes}
[[objectives]]
name = "latency_ms"
unit = "ms"
reference = {latency_ms}
{constraints}
[compression]
weight_bits = {weight_bits}
[compression.finetune]
steps = 300
[space]
{space}"""
_SHOWN = 0.1
_BOUNDED = ("flash_model_bytes", "ram_bytes", "latency_ms")


def main(
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/mlperf-tiny"),
    minutes: Annotated[float, typer.Option(min=0, help="How long each search proposes designs.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of every study.")] = 0,
) -> None:
    """Cost the four networks, train and search what there is data for, print the tables."""
    print(costs_table())
    for benchmark in BENCHMARKS:
        if benchmark.task:
            reference = finished(out / f"{benchmark.task}-reference", reference_study(benchmark, seed))
            found = finished(out / f"{benchmark.task}-search", search_study(benchmark, seed, minutes))
            print(f"\n## {benchmark.title}\n\n{errors_table(reference, found)}", flush=True)


def reference_cost(network: str) -> Cost:
    """Return what a reference network costs on the board."""
    return estimate(REFERENCE_NETWORKS[network](), load_device(DEVICE), load_runtime(RUNTIME))


def costs_table() -> str:
    """Return the costs of the four reference networks as a table."""
    rows = []
    for benchmark in BENCHMARKS:
        cost = reference_cost(benchmark.network)
        time = cost.interval("latency_ms")
        rows.append(
            (
                benchmark.title, benchmark.network, benchmark.target, f"{cost.macs:,}", _kib(cost.flash_model_bytes),
                _kib(cost.value("ram_bytes")), f"{time.value:.1f} ({time.low:.1f} to {time.high:.1f})",
                f"{cost.energy_uj:,.0f}",
            )
        )  # fmt: skip
    heads = ("", "network", "quality target", "MACs", "model flash KiB", "RAM KiB", "latency ms", "energy uJ")
    return table(heads, rows)


def reference_study(benchmark: Benchmark, seed: int) -> str:
    """Return the study of one design: the reference network, in int8, with all its channels."""
    space = {**benchmark.reference, "keep": 1.0, "weight_bits": 8}
    return _study(benchmark, "reference", seed=seed, length="trials = 1", bits=(8,), space=space)


def search_study(benchmark: Benchmark, seed: int, minutes: float) -> str:
    """Return the study of a search that may cost no more than the reference network."""
    cost = reference_cost(benchmark.network)
    bounds = "".join(f'[[constraints]]\nname = "{name}"\nupper = {cost.value(name)}\n' for name in _BOUNDED)
    return _study(benchmark, "search", seed=seed, length=f"hours = {minutes / 60}", bits=(8, 4), constraints=bounds)


def _study(
    benchmark: Benchmark,
    what: str,
    *,
    seed: int,
    length: str,
    bits: tuple[int, ...],
    space: Mapping[str, Any] = {},
    constraints: str = "",
) -> str:
    cost = reference_cost(benchmark.network)
    return _STUDY.format(
        name=f"{benchmark.task}-{what}",
        seed=seed,
        length=length,
        task=benchmark.task,
        family=benchmark.family,
        device=DEVICE,
        runtime=RUNTIME,
        flash_model_bytes=cost.flash_model_bytes,
        latency_ms=cost.latency_ms,
        constraints=constraints,
        weight_bits=list(bits),
        space="".join(f"{name} = {value}\n" for name, value in {"epochs": benchmark.epochs, **space}.items()),
    )


def finished(path: Path, study: str) -> RunRecord:
    """Return a run of a study, made or continued where it is not complete."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "study.toml").write_text(study, encoding="utf-8")
    config: StudyConfig = load_config(path / "study.toml", [])
    run = path / "run"
    if not (run / "front.csv").is_file():
        run_search(config, prepare_run(config, out=run, resume=run.is_dir()), resume=run.is_dir())
        read_run(run).write_tables()
    return read_run(run)


def errors_table(reference: RunRecord, found: RunRecord) -> str:
    """Return errors and costs of the reference network, and of a search's front as far as it is at most 0.1 worse."""
    worst = max(float(entry["validation_error"]) for entry in reference.front_objects()) + _SHOWN
    heads = ("", "validation error %", "test error %", "model flash KiB", "RAM KiB", "latency ms")
    return table(heads, [*_rows(reference, "reference network", worst), *_rows(found, "found", worst)])


def _rows(record: RunRecord, name: str, worst: float) -> Iterator[tuple[str, ...]]:
    for entry in sorted(record.front_objects(), key=lambda entry: float(entry["validation_error"])):
        if entry["validation_error"] > worst:
            break
        errors = (f"{100 * entry[key]:.1f}" for key in ("validation_error", "test_error"))
        costs = (_kib(entry["flash_model_bytes"]), _kib(entry["ram_bytes"]), f"{entry['latency_ms']:.1f}")
        yield (f"{name}, trial {entry['trial']}", *errors, *costs)


def _kib(size_bytes: float) -> str:
    return f"{size_bytes / 1024:.1f}"


if __name__ == "__main__":
    typer.run(main)
