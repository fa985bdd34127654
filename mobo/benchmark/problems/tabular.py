"""A problem whose every design was evaluated before: judging one is looking it up, and the best front is known."""

from collections.abc import Hashable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from hw_models.cost import COST_NAMES
from hw_models.errors import unknown_name
from mobo.base.errors import MoboError, TrialFailed
from mobo.benchmark.problems.design_table import ERRORS, DesignTable, cost_column, find_table, read_table
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.space.work import Seconds

COMPRESSION_NAMES = ("keep", "weight_bits")
"""The parameters of a table that a trained network can be given anew."""

MACS_A_SECOND = 1e6

KEYWORDS_TABLE = Path("keywords-table.csv.gz")
WISDM_TABLE = Path("wisdm-table.csv.gz")

# The budget of the keyword study; a million multiply-accumulates is a round number, not fitted to the
# front.
_FLASH_BYTES, _RAM_BYTES, _LATENCY_MS, _MACS = 32 * 1024, 16 * 1024, 60.0, 1e6


class TabularSettings(BaseModel):
    """What is searched in which table.

    Attributes:
        table: File of the table; a relative path is looked up in the current folder, then beside this module.
        device: Board whose costs count, one of the table's.
        objectives: What is minimised; by default error, flash of the model, RAM and MACs.
        constraints: What must hold; by default the budget of the keyword study.
        train_samples: Samples of an epoch.
        finetune_samples: Samples of a fine-tuning; by default 100 steps of 32.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Path = KEYWORDS_TABLE
    device: str = "nucleo-l4r5zi"
    objectives: tuple[Objective, ...] = Field(
        default=(
            Objective(name=VALIDATION_ERROR, reference=0.5),
            Objective(name="flash_model_bytes", unit="bytes", reference=_FLASH_BYTES),
            Objective(name="ram_bytes", unit="bytes", reference=_RAM_BYTES),
            Objective(name="macs", reference=_MACS),
        ),
        min_length=1,
    )
    constraints: tuple[Constraint, ...] = (
        Constraint(name="flash_model_bytes", unit="bytes", upper=_FLASH_BYTES),
        Constraint(name="ram_bytes", unit="bytes", upper=_RAM_BYTES),
        Constraint(name="latency_ms", unit="ms", upper=_LATENCY_MS),
    )
    train_samples: Annotated[int, Field(ge=1)] = 2454
    finetune_samples: Annotated[int, Field(ge=1)] = 100 * 32


# Round numbers of about half of what the largest network of the grid takes.
_WISDM_FLASH_BYTES, _WISDM_LATENCY_MS = 32 * 1024, 20.0


class WisdmTableSettings(TabularSettings):
    """The same of the table of activity networks.

    Attributes:
        table: File of the table.
        objectives: What is minimised; by default error, flash of the model and latency.
        constraints: What must hold; by default flash and latency below their references.
        train_samples: Samples of an epoch.
        finetune_samples: Samples of a fine-tuning: 50 steps of 32.
    """

    table: Path = WISDM_TABLE
    objectives: tuple[Objective, ...] = Field(
        default=(
            Objective(name=VALIDATION_ERROR, reference=0.5),
            Objective(name="flash_model_bytes", unit="bytes", reference=_WISDM_FLASH_BYTES),
            Objective(name="latency_ms", unit="ms", reference=_WISDM_LATENCY_MS),
        ),
        min_length=1,
    )
    constraints: tuple[Constraint, ...] = (
        Constraint(name="flash_model_bytes", unit="bytes", upper=_WISDM_FLASH_BYTES),
        Constraint(name="latency_ms", unit="ms", upper=_WISDM_LATENCY_MS),
    )
    train_samples: Annotated[int, Field(ge=1)] = 5832
    finetune_samples: Annotated[int, Field(ge=1)] = 50 * 32


class TabularProblem:
    """A table of designs as a problem: the costs are known outcomes, the errors come from the evaluation.

    Args:
        settings: The table and what counts in it.

    Raises:
        TableError: The table is missing, damaged or incomplete.
        MoboError: The board, or an objective or constraint, is not in the table.
    """

    def __init__(self, settings: TabularSettings | None = None) -> None:
        self._settings = settings or TabularSettings()
        self._table = _read_once(find_table(self._settings.table).resolve())
        if self._settings.device not in self._table.devices:
            raise MoboError(unknown_name("board of the table", self._settings.device, self._table.devices))
        allowed = (VALIDATION_ERROR, *COST_NAMES)
        for name in (item.name for items in (self.objectives, self.constraints) for item in items):
            if name not in allowed:
                raise MoboError(unknown_name("outcome of the table", name, allowed))
        for item in self.constraints:
            if item.confidence is not None:
                raise MoboError(f"{item.name}: the table has no spreads; drop confidence = {item.confidence:g}")
        self._known = TabularCosts(self._table, self._settings.device)

    @property
    def space(self) -> SearchSpace:
        """The table's grid."""
        return self._table.space

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is minimised."""
        return self._settings.objectives

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """What must hold."""
        return self._settings.constraints

    @property
    def known(self) -> KnownOutcomes:
        """All costs on the board."""
        return self._known

    @property
    def boards(self) -> tuple[str, ...]:
        """The boards whose costs are in the table."""
        return self._table.devices

    @cached_property
    def work(self) -> "TabularWork":
        """What the designs would have cost to train and to compress."""
        settings = self._settings
        return TabularWork(
            self._table.space,
            self._known,
            train_samples=settings.train_samples,
            finetune_samples=settings.finetune_samples,
        )

    def check(self, design: Design) -> Feasibility:
        """Return the costs; infeasible when they break a constraint."""
        known = dict(zip(self._known.names, self._known.outcomes([design])[0].tolist(), strict=True))
        broken = [item for item in self.constraints if item.name in known and not item.holds(known)]
        reason = "; ".join(f"{item.name} {known[item.name]:.6g} > {item.upper:.6g}" for item in broken)
        return Feasibility(feasible=not broken, reason=reason, known=known)

    def evaluate(self, trial: Trial) -> Evaluation:
        """Return the design's row; the trial's seed changes nothing.

        Raises:
            TrialFailed: The design's training diverged when the table was made.
            SpaceError: The design is not in the table.
        """
        row = self._known.row(trial.design)
        if row in self._table.failures:
            raise TrialFailed(self._table.failures[row])
        errors = {name: float(self._table.outcomes[name][row]) for name in ERRORS if name in self._table.outcomes}
        return Evaluation(outcome={**errors, **self.check(trial.design).known})

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every design that did not fail as a finished trial, numbered by its row."""
        return tuple(
            self._done(row, design) for row, design in enumerate(self._table.designs) if row not in self._table.failures
        )

    def _done(self, row: int, design: Design) -> Trial:
        trial = Trial(number=row, design=design, seed=0)
        return Trial(number=row, design=design, seed=0, state=TrialState.DONE, outcome=self.evaluate(trial).outcome)

    @cached_property
    def front(self) -> Front:
        """The exact front: nothing in the table that keeps the constraints is better."""
        return Front.of(self.trials, self.objectives, self.constraints)

    @property
    def hypervolume(self) -> float:
        """The hypervolume of the exact front, which no search can exceed."""
        return self.front.hypervolume


class TabularCosts:
    """The costs in a table on one board: a :class:`mobo.space.known_outcomes.KnownOutcomes`.

    Args:
        table: The table.
        device: One of its boards.
    """

    def __init__(self, table: DesignTable, device: str) -> None:
        self._space = table.space
        self._row_of = {design: row for row, design in enumerate(table.designs)}
        self._costs = np.stack([table.outcomes[cost_column(name, device)] for name in COST_NAMES], axis=1)

    @property
    def names(self) -> tuple[str, ...]:
        """Every cost."""
        return COST_NAMES

    def row(self, design: Design) -> int:
        """Return the row of a design.

        Raises:
            SpaceError: It is not in the table.
        """
        if design not in self._row_of:
            self._space.check(design)
        return self._row_of[design]

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        """Return the costs, shape ``(len(designs), len(names))``, in their own units."""
        costs: NDArray[np.float64] = self._costs[[self.row(design) for design in designs]]
        return costs


class TabularWork:
    """What the designs of a table cost in counted seconds: a :class:`mobo.space.work.Work`.

    The formula: ``MACs of the uncompressed network x epochs x train samples`` for a training, ``MACs of the compressed
    network x fine-tuning steps x batch`` for a child, both at the price of a million multiply-accumulates a counted
    second. A table whose designs have neither ``keep`` nor ``weight_bits`` shares nothing.

    Args:
        space: The table's grid.
        costs: The costs, among which the MACs are.
        train_samples: Samples of an epoch.
        finetune_samples: Samples of a fine-tuning.
    """

    def __init__(self, space: SearchSpace, costs: TabularCosts, *, train_samples: int, finetune_samples: int) -> None:
        self._costs = costs
        self._train_samples, self._finetune_samples = train_samples, finetune_samples
        whole = space.decode(np.ones(len(space)))
        self._compression = {name: whole[name] for name in COMPRESSION_NAMES if name in whole}
        self._names = frozenset(space.names) - frozenset(self._compression)

    @property
    def training_names(self) -> frozenset[str]:
        """All parameters but those of the compression."""
        return self._names

    def child_key(self, design: Design) -> Hashable:
        """Return the compression: each is another row."""
        return tuple(design[name] for name in self._compression)

    def sibling(self, design: Design, finetuned: Sequence[Design]) -> int | None:
        """Return None: a table knows each network fine-tuned from the trained one only."""
        return None

    def training_s(self, designs: Sequence[Design]) -> Seconds:
        """Return the counted seconds of a training, ``n``."""
        whole = [Design({**design, **self._compression}) for design in designs]
        epochs = np.array([float(design.get("epochs", 1)) for design in designs])
        seconds: Seconds = self._macs(whole) * epochs * self._train_samples / MACS_A_SECOND
        return seconds

    def child_s(self, designs: Sequence[Design]) -> Seconds:
        """Return the counted seconds of a child's fine-tuning, ``n``."""
        seconds: Seconds = self._macs(designs) * self._finetune_samples / MACS_A_SECOND
        return seconds

    def _macs(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        if not designs:
            return np.zeros(0)
        macs: NDArray[np.float64] = self._costs.outcomes(designs)[:, self._costs.names.index("macs")]
        return macs


@lru_cache(maxsize=4)
def _read_once(path: Path) -> DesignTable:
    return read_table(path)
