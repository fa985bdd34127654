"""Tables of trained networks as a benchmark for anybody's sampler: name a design, get what was measured of it.

Errors are looked up, and so are the costs on the boards that a table has: as they were when it was made, so that a
benchmark stays what it is. On other boards they are what the cost models of this version say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from hw_models.device import Device, load_device
from hw_models.graph.layer_graph import Shape
from hw_models.runtime import Runtime
from mobo.base.errors import MoboError
from mobo.benchmark.problems.design_table import ERRORS, TableError, find_table, read_table
from mobo.benchmark.problems.tabular import TabularProblem, TabularSettings, WisdmTableSettings
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front
from mobo.space.search_space import Design, SearchSpace, Value
from mobo.space.trial import Trial, TrialState

if TYPE_CHECKING:
    from hw_models.cost import Cost
    from hw_models.graph.layer_graph import LayerGraph
    from mobo.tinyml.designs import Designs

BOARD = TabularSettings().device
"""The board whose costs count where none is named."""


@dataclass(frozen=True)
class _Task:
    """What the networks of a table read and say.

    Attributes:
        input_shape: ``(height, width, channels)``.
        class_count: Their outputs.
    """

    input_shape: Shape
    class_count: int


@dataclass(frozen=True)
class _OtherSeed:
    """Some designs of a table, trained and compressed once more with another seed.

    Attributes:
        table: Their errors.
        fixed: The values of the parameters that are the same in all of them, which that table lacks.
    """

    table: Path
    fixed: Mapping[str, Value]


class BenchmarkTable:
    """Every design of a space with its measured errors, and its costs on a board.

    Args:
        settings: The table, what is minimised in it and what must hold.
        task: What its networks read and say.
        others: What was made once more, by seed; the table itself is that of seed 0.

    Attributes:
        problem: The table as a problem of ``mobo benchmark``, on the board whose costs count by default.
    """

    def __init__(
        self, settings: TabularSettings, task: _Task, others: Mapping[int, _OtherSeed] = MappingProxyType({})
    ) -> None:
        self.problem, self._task, self._settings, self._others = TabularProblem(settings), task, settings, others
        self._errors: dict[int, Mapping[Design, Mapping[str, float]]] = {}
        self._on: dict[str, TabularProblem] = {}
        self._study = find_table(settings.table).with_suffix("").with_suffix(".toml")
        self._boards: dict[str, tuple[Device, Runtime]] = {}

    @property
    def space(self) -> SearchSpace:
        """The parameters and their values."""
        return self.problem.space

    @property
    def designs(self) -> tuple[Design, ...]:
        """Every design that has errors: none of the trainings in a table that ships failed."""
        return tuple(trial.design for trial in self.problem.trials)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is minimised, each from its ideal to its reference."""
        return self.problem.objectives

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What must hold."""
        return self.problem.constraints

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds there are: 0 of every design, the others of some."""
        return (0, *self._others)

    def designs_of(self, seed: int) -> tuple[Design, ...]:
        """Return the designs that were trained and compressed with a seed.

        Raises:
            TableError: There is no such seed.
        """
        return self.designs if seed == 0 else tuple(self._errors_of(seed))

    def query(self, design: Mapping[str, Value], board: str = BOARD, *, seed: int = 0) -> dict[str, float]:
        """Return what is known of a design: errors on the splits, and all costs on a board.

        The errors are ``validation_error`` and ``test_error`` of the integer network and ``float_validation_error`` of
        the one that was trained. A search may see ``validation_error`` and the costs; the others are for reports.

        Args:
            design: A value for every parameter of the space.
            board: A board that ships (``mobo devices``).
            seed: Of the training and the fine-tuning, on which the errors depend.

        Raises:
            SpaceError: The design is not in the table.
            TableError: There is no such seed, or not of this design.
            TrialFailed: Its training diverged when the table was made.
            HardwareModelError: There is no such board.
            MoboError: No engine covers the board.
        """
        asked = design if isinstance(design, Design) else Design(design)
        problem = self._problem(board)
        outcome = problem.evaluate(Trial(number=0, design=asked, seed=0)).outcome
        known = {name: float(value) for name, value in outcome.items() if value is not None}
        if seed != 0:
            errors = self._errors_of(seed)
            if asked not in errors:
                raise TableError(
                    f"{dict(asked)} was not made with seed {seed}; designs_of({seed}) has the {len(errors)} that were"
                )
            known |= errors[asked]
        return known if board in problem.boards else known | self._costs(asked, board)

    def _errors_of(self, seed: int) -> Mapping[Design, Mapping[str, float]]:
        """Return the errors of the designs that were made once more, by design."""
        if seed not in self._others:
            raise TableError(f"there is no seed {seed}; the table has {', '.join(map(str, self.seeds))}")
        if seed not in self._errors:
            other = self._others[seed]
            table = read_table(find_table(other.table))
            places = range(len(table.designs))
            self._errors[seed] = {
                Design({name: ({**table.designs[place], **other.fixed})[name] for name in self.space.names}): {
                    name: float(table.outcomes[name][place]) for name in ERRORS
                }
                for place in places
                if place not in table.failures
            }
        return self._errors[seed]

    def _problem(self, board: str) -> TabularProblem:
        """Return the table with the costs on a board that it has; with the default's for any other."""
        if board not in self.problem.boards:
            return self.problem
        if board not in self._on:
            self._on[board] = TabularProblem(self._settings.model_copy(update={"device": board}))
        return self._on[board]

    def hypervolume(self, designs: Sequence[Mapping[str, Value]], board: str = BOARD) -> float:
        """Return the share of the box between ideal and reference that some designs dominate, as far as they may be.

        Raises:
            SpaceError, TrialFailed, HardwareModelError, MoboError: See :meth:`query`.
        """
        return self._front(designs, board).hypervolume

    def front(self, board: str = BOARD) -> tuple[Design, ...]:
        """Return the designs that keep the constraints and that none of those beats, sorted by the first objective.

        Raises:
            HardwareModelError, MoboError: See :meth:`query`.
        """
        return tuple(trial.design for trial in self._front(self.designs, board).trials)

    def _front(self, designs: Sequence[Mapping[str, Value]], board: str) -> Front:
        trials = [
            Trial(
                number=number,
                design=design if isinstance(design, Design) else Design(design),
                seed=0,
                state=TrialState.DONE,
                outcome=self.query(design, board),
            )
            for number, design in enumerate(designs)
        ]
        return Front.of(trials, self.objectives, self.constraints)

    def _costs(self, design: Design, board: str) -> dict[str, float]:
        from hw_models.cost import COST_NAMES, estimate
        from mobo.tinyml.carried_policy import carried_graph

        device, runtime = self._board(board)

        def cost_of(graph: "LayerGraph") -> "Cost":
            return estimate(graph, device, runtime)

        cost = cost_of(carried_graph(self._networks.choices(design), self._networks.values(design), cost_of))
        return {name: float(cost.value(name)) for name in COST_NAMES}

    def _board(self, name: str) -> tuple[Device, Runtime]:
        if name not in self._boards:
            self._boards[name] = _board(name)
        return self._boards[name]

    @cached_property
    def _networks(self) -> "Designs":
        return _networks(self._study, self._task)


_KEYWORDS_AGAIN = _OtherSeed(Path("keywords-table.seed1.csv.gz"), {"learning_rate": 0.03, "epochs": 12, "kernel": 3})


def keyword_table() -> BenchmarkTable:
    """Return 2,304 separable networks for twelve keywords, each trained, compressed and measured; 288 of them twice.

    >>> table = keyword_table()
    >>> tried = table.designs[:10]
    >>> table.query(tried[0], board="nrf52840-dk")["validation_error"] == table.query(tried[0])["validation_error"]
    True
    >>> 0.0 < table.hypervolume(tried) < 1.0
    True
    """
    return BenchmarkTable(TabularSettings(), _Task((49, 10, 1), 12), {1: _KEYWORDS_AGAIN})


def wisdm_table() -> BenchmarkTable:
    """Return 384 one-dimensional CNNs for six activities, each trained, compressed and measured.

    >>> table = wisdm_table()
    >>> len(table.designs), sorted(table.query(table.designs[0]))[:2]
    (384, ['energy_uj', 'flash_image_bytes'])
    """
    return BenchmarkTable(WisdmTableSettings(), _Task((1, 128, 3), 6))


def _board(name: str) -> tuple[Device, Runtime]:
    from mobo.tinyml.config import DeviceSettings
    from mobo.tinyml.study_runtime import study_runtime

    device = load_device(name)
    runtime = study_runtime(DeviceSettings(name=name), device)
    if runtime is None:
        raise MoboError(f"no engine covers {name!r} ({device.core}), so its costs are unknown; see `mobo runtimes`")
    return device, runtime


def _networks(study: Path, task: _Task) -> "Designs":
    """Return what the designs of a study stand for, without its data: only their shape decides on layers."""
    import numpy as np
    import torch

    from envs.compression.float_network.samples import LabelledSamples
    from mobo.tinyml.config_file import load_config
    from mobo.tinyml.designs import Designs
    from mobo.tinyml.hyperparameters import hyperparameters
    from mobo.tinyml.inputs import Inputs
    from mobo.tinyml.methods import method_of
    from mobo.tinyml.network import Networks
    from mobo.tinyml.tasks.data import Standardisation, TaskData

    height, width, channels = task.input_shape
    one = LabelledSamples(torch.zeros(1, channels, height, width), torch.zeros(1, dtype=torch.int64))
    data = TaskData(
        input_shape=task.input_shape,
        class_names=tuple(f"class {number}" for number in range(task.class_count)),
        train=one,
        reward=one,
        validation=one,
        load_test=lambda: one,
        standardisation=Standardisation.of(np.zeros((1, *task.input_shape), np.float32), "none"),
    )
    config = load_config(study)
    device, runtime = _board(config.device.name)
    return Designs(
        config,
        data,
        device,
        runtime,
        hyperparameters=hyperparameters(config, task.input_shape, method_of(config.compression)),
        networks=Networks(config, data),
        inputs=Inputs(config, data),
    )
