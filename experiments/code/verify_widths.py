"""Train, export and verify models with 16-bit activations: ``python -m experiments.code.verify_widths``.

The networks of :mod:`experiments.code.verify_families`, one per family, trained and pruned in the same way, with 16-bit
activations in every second layer with weights and 8 bits in the others, so that every network changes its width many
times. Writes ``widths.csv`` (every row of every verification) and ``widths.md`` to ``results/code/verification``; exit
code 1 when a promise is broken.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from envs.compression.integer.fast_interpreter import error_of
from experiments.code.verify_families import (
    STUDIES,
    board_of,
    config_of,
    described_rows,
    errors_and_promises,
    verify_families,
)
from hw_models.graph.layer_graph import LayerGraph
from mobo.base import markdown
from mobo.base.seeds import trial_seed
from mobo.deliver import deliver_trial
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.space.search_space import Value
from mobo.space.trial import Trial, TrialState
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.network import DesignedNetwork, Networks
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup

# 4-bit weights beside 16-bit activations are what no kernel computes.
_OVERRIDES = ("compression.weight_bits=[8]", "compression.evaluations=3")


class MixedWidths(Networks):
    """Networks with 16-bit activations in every second layer, whatever chooses the rest of the policy."""

    def build(self, values: Mapping[str, Value], *, seed: int) -> DesignedNetwork:
        """Build a design's network, whose layers say their width; ``seed`` decides its initial weights."""
        network = super().build(values, seed=seed)
        graph = every_second_wide(network.graph)
        trace, space = replace(network.trace, graph=graph), replace(network.space, graph=graph)
        return replace(network, trace=trace, space=space)


def every_second_wide(graph: LayerGraph) -> LayerGraph:
    """Return a graph whose second, fourth, ... layer with weights has 16-bit activations, without conversions."""
    wide = {layer.name for layer in graph.weight_layers[1::2]}
    layers = (replace(layer, output_bits=16) if layer.name in wide else layer for layer in graph.layers)
    return replace(graph, layers=tuple(layers))


def main() -> None:
    """Train, export, verify, write, print."""
    verify_families(verified, summary, description=__doc__, table="widths.csv", page="widths.md")


def verified(family: str) -> Iterator[dict[str, Any]]:
    """Yield every row of the verification of one trained model."""
    config = config_of(family, *_OVERRIDES)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.create(Path(folder, family), config_toml=config.to_toml())
        train_one(config, run)
        done = deliver_trial(read_run(run.path), 0, Path(folder, "exported"), board_of(config), verified=True)
        yield from described_rows(family, done)


def train_one(config: StudyConfig, run: RunDirectory) -> None:
    """Train and compress the design in the middle of the space, and store it with its test error."""
    setup = load_setup(config)
    problem = TinyMLProblem(
        config, setup.data, setup.device, setup.runtime, save_model=run.save_model, networks=MixedWidths
    )
    design = problem.space.decode(np.full(len(problem.space), 0.5))
    trial = Trial(number=0, design=design, seed=trial_seed(config.seed, 0))
    evaluation = problem.evaluate(trial)
    with Store.create(run.store_path, config_toml=config.to_toml(), seed=config.seed) as store:
        store.save(replace(trial, state=TrialState.DONE, outcome=evaluation.outcome, times_s=evaluation.times_s))
        store.set_test_error(0, error_of(load_quantised(run.model_directory(0)), setup.data.load_test()))


def summary(table: pd.DataFrame) -> str:
    """Return the verifications as Markdown: one line per family."""
    families = markdown.table(
        ("family", "MACs", "layers of 8, 16 bits", "error stored", "interpreter, LiteRT, TFLM, C", "promises kept"),
        [_family_row(family, rows) for family, rows in table.groupby("family", sort=False)],
    )
    return _PAGE.format(found=table["family"].nunique(), all=len(STUDIES), families=families)


_PAGE = """\
# Trained models with 16-bit activations verified: network families, {found} of {all}

By `python -m experiments.code.verify_widths`; every row of every check is in `widths.csv`. Every second layer
with weights has 16-bit activations. The errors are on the whole test split.

{families}
"""


def _family_row(family: object, rows: pd.DataFrame) -> tuple[object, ...]:
    first = rows.iloc[0]
    wide = int(first["layers_of_16_bit_activations"])
    narrow = int(first["layers_of_8_bits"]) + int(first["layers_of_4_bits"]) - wide
    return (family, f"{first['macs']:,}", f"{narrow}, {wide}", *errors_and_promises(rows))


if __name__ == "__main__":
    main()
