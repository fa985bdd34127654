"""What earlier runs found, for a study of the same hyperparameters on another board, or on other data."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

import numpy as np

from hw_models.graph.layer_graph import Shape
from mobo.base.errors import ConfigError
from mobo.runs.adopted import as_mine, design_of, hyperparameters_of, networks_of
from mobo.runs.record import RunRecord, read_run
from mobo.space.earlier_study import EarlierStudy
from mobo.space.problem import Problem
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.tinyml.config import StudyConfig


def earlier_studies(config: StudyConfig, input_shape: Shape) -> tuple[EarlierStudy, ...]:
    """Return what the runs found that ``[start] studies`` names; nothing where it names none.

    A trial counts if it says something of every hyperparameter that this study searches, and its values are among those
    that may be chosen here. What either study fixes may differ.

    Args:
        config: The study.
        input_shape: Of the task's inputs.

    Raises:
        ConfigError: None of the trials of a run is a design of this study.
        RunDirectoryError, StoreError: A run cannot be read.
    """
    return tuple(_earlier(path, config, input_shape) for path in config.start.studies)


def _earlier(path: Path, config: StudyConfig, input_shape: Shape) -> EarlierStudy:
    record = read_run(path)
    found: dict[Design, Trial] = {}
    for trial, design in _translated(record, config, input_shape):
        found.setdefault(design, replace(trial, design=design))
    if not found:
        raise ConfigError(
            f"start.studies names {path}, none of whose trials is a design of this study: they are of another family, "
            "or lack a hyperparameter that is searched here, or have other values; search the same in [space], or drop "
            "it from [start]"
        )
    on_front = {trial.number for trial in record.front}
    front = [trial for trial in found.values() if trial.number in on_front]
    first = record.config.objectives[0].name
    front.sort(key=lambda trial: (trial.outcome[first], trial.number))
    return EarlierStudy(str(path), tuple(found.values()), tuple(trial.design for trial in front))


def _translated(record: RunRecord, config: StudyConfig, input_shape: Shape) -> Iterator[tuple[Trial, Design]]:
    """Yield the trials that are designs of this study, too, with those designs."""
    mine, theirs = (hyperparameters_of(one, input_shape) for one in (config, record.config))
    allowed = networks_of(config)
    for trial in record.trials:
        if trial.state is not TrialState.DONE:
            continue
        network, own = record.config.network.of_one_family(theirs.complete(trial.design))
        if network in allowed:
            design = design_of(mine.space, as_mine(own, network, config, input_shape))
            if design is not None:
                yield trial, design


def first_designs(problem: Problem, studies: Sequence[EarlierStudy], most: int) -> list[Design]:
    """Return designs of the earlier fronts that a study begins with, evenly from the lowest error to the lowest costs.

    Args:
        problem: The study's problem; designs that it refuses are passed over.
        studies: What was found earlier; they take turns.
        most: How many.
    """
    ordered = [_spread([design for design in study.front if problem.check(design).feasible]) for study in studies]
    turns = (design for turn in zip_longest(*ordered) for design in turn if design is not None)
    return list(dict.fromkeys(turns))[:most]


def _spread(designs: Sequence[Design]) -> list[Design]:
    """Return designs in an order whose beginnings are spread evenly: both ends, the middle, what lies between."""
    count = len(designs)
    if not count:
        return []
    order: dict[int, None] = {}
    parts = 1
    while len(order) < count:
        order |= dict.fromkeys(int(place) for place in np.linspace(0, count - 1, parts + 1).round())
        parts *= 2
    return [designs[place] for place in order]


def earlier_digest(studies: Sequence[EarlierStudy]) -> dict[str, str]:
    """Return the digest of what earlier studies found, by the key that names them."""
    content = [
        [
            [[trial.design.to_json(), sorted(trial.outcome.items())] for trial in study.trials],
            [design.to_json() for design in study.front],
        ]
        for study in studies
    ]
    return {"start.studies": sha256(json.dumps(content).encode()).hexdigest() if content else ""}
