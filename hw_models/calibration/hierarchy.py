r"""The fit: one pace (cycles per instruction) per engine, core and group of kernels, partly pooled.

For a measured network or layer ``i`` on core ``c`` under engine ``e`` of release ``r`` on board ``b``,

.. math::
    \ln y_i = \ln \sum_g \sum_{p} n_{igp} \exp\theta_{igp} + \varepsilon_i, \qquad
    \theta_{igp} = \mu + \sum_k \beta_k

where ``n`` are the instructions of group ``g`` (inner loops ``p = 0``, the rest ``p = 1``), counted on an emulated
core, and the sum runs over the effects that apply: of how many instructions the core issues, the core, the engine,
the group, their pairs and triples, the release, the board. Every effect has a normal prior around 0, so a cell with
few rows borrows from the engine on other cores, from other engines on the core, and from the group everywhere, as far
as the priors' widths let it. The posterior mode is found by Gauss-Newton steps; errors are Student-t, so a row that
nothing explains does not bend the rest. The inverse of the curvature at the mode is the covariance from which every
interval comes. (A. Gelman et al., Bayesian Data Analysis, 3rd ed., chapters 5, 13 and 17.)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hw_models.calibration.engines import drops_zero_filters, family_of, is_tflm
from hw_models.calibration.tables import Measured
from hw_models.kernels import GROUPS, INNER_TERMS, OPERATOR_GROUP, KernelCall, dot
from hw_models.runtime import Runtime

Key = tuple[str, ...]
Effects = list[tuple[Key, float]]

SLOTS = tuple((group, outer) for group in GROUPS for outer in (False, True))
"""What a network's instructions are divided into: per group, inner loops and the rest."""

_HAS_INNER = {"conv_kxk", "conv_few_inputs", "conv_1d", "conv_1x1", "depthwise", "dense"}
_WINDOWS = {"conv_kxk", "conv_few_inputs", "conv_1d"}
_ISSUE = {
    "cortex-m0plus": "single", "cortex-m3": "single", "cortex-m4": "single", "cortex-m33": "single",
    "cortex-m7": "dual", "cortex-m55": "vector", "cortex-m85": "vector",
}  # fmt: skip
_TELLING_SHARE = 0.1
_STUDENT_DEGREES = 4.0
_MAX_STEPS = 50
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Priors:
    """Standard deviations of the effects on the logarithm of the pace, and of what no effect explains.

    The values were chosen by the log score of the cross-validations (``experiments/costs/cross_validate_costs.py``), by
    halving and doubling one after the other; each serves all engines, cores and networks.
    """

    issue: float = 0.5
    core: float = 0.25
    engine: float = 0.5
    group: float = 0.6
    engine_windows: float = 0.15
    engine_group: float = 0.2
    core_group: float = 0.15
    engine_core: float = 0.075
    engine_core_group: float = 0.08
    release: float = 0.15
    release_core: float = 0.05
    release_group: float = 0.05
    board: float = 0.03
    own_board: float = 0.2
    outer: float = 0.15
    engine_outer: float = 0.25
    similar_network: float = 0.25
    unknown_network: float = 1.0
    network_residual: float = 0.06
    layer_residual: float = 0.12


@dataclass(frozen=True)
class Setting:
    """Where a prediction is for.

    Attributes:
        family: The runtime.
        release: Its release as an engine string; None for one that was not measured.
        core: The core.
        board: The board; None for one that was not measured.
    """

    family: str
    release: str | None
    core: str
    board: str | None


def instruction_counts(calls: Sequence[KernelCall], core: str, counted: Runtime) -> NDArray[np.float64]:
    """Return the instructions per slot of :data:`SLOTS` of one inference on a core.

    Args:
        calls: The kernel calls.
        core: The core.
        counted: The runtime whose kernels were counted.
    """
    counts = dict.fromkeys(SLOTS, 0.0)
    per_operator = counted.core(core).operator_instructions
    for call in calls:
        form = counted.kernel_model(core, call).instructions
        inner = sum(value * call.terms[term] for term, value in form.items() if term in INNER_TERMS)
        counts[call.group, False] += inner
        counts[call.group, True] += dot(form, call.terms) - inner
        counts[OPERATOR_GROUP, True] += per_operator
    return np.array(list(counts.values()))


def group_rows(counts: Iterable[NDArray[np.float64]]) -> tuple[int, ...]:
    """Return in how many rows each of the groups has a tenth of the work or more: where a row tells about its pace.

    Args:
        counts: Instructions (or cycles) per slot of :data:`SLOTS` of every row.
    """
    seen = np.zeros(len(GROUPS), dtype=int)
    for row in counts:
        groups = row.reshape(len(GROUPS), 2).sum(axis=1)
        seen += groups >= _TELLING_SHARE * groups.sum()
    return tuple(int(rows) for rows in seen)


def setting_of(row: Measured, family: str | None = None) -> Setting:
    """Return where a row was measured; ``family`` overrides what its engine string says."""
    return Setting(family or family_of(row.engine), row.engine, row.core, row.board)


def row_counts(row: Measured, counted: Runtime) -> NDArray[np.float64]:
    """Return the instructions of a measured row as its engine runs it, per slot."""
    calls: Sequence[KernelCall] = row.live_calls if drops_zero_filters(row.engine) else row.calls
    if not is_tflm(row.engine):
        # Only TFLM has a portable kernel for means.
        calls = [replace(call, kernel="average_pool") if call.kernel == "mean" else call for call in calls]
    return instruction_counts(calls, row.core, counted) * (1.0 if row.scale is None else row.scale)


class HierarchicalFit:
    """The fitted effects and their covariance."""

    def __init__(
        self,
        rows: Sequence[Measured],
        counted: Runtime,
        *,
        priors: Priors | None = None,
        own_boards: frozenset[str] = frozenset(),
    ) -> None:
        """Fit.

        Args:
            rows: The measurements.
            counted: The runtime whose kernels were counted.
            priors: Widths of the priors; None for the chosen ones.
            own_boards: Boards that may differ from others by more than published ones do: their build is the user's.
        """
        self.priors = priors or Priors()
        self._own_boards = own_boards
        self.settings = [setting_of(row) for row in rows]
        self._index: dict[Key, int] = {}
        self._widths: list[float] = []
        counts = np.array([row_counts(row, counted) for row in rows])
        design = Design(self._entries(rows, counts), len(rows))
        logs = np.log([row.cycles for row in rows])
        widths = [self.priors.layer_residual if _is_rough(row) else self.priors.network_residual for row in rows]
        self.effects, self.covariance = posterior_mode(
            design, counts, logs, 1 / np.square(widths), 1 / np.square(self._widths)
        )

    def _entries(self, rows: Sequence[Measured], counts: NDArray[np.float64]) -> Iterator[tuple[int, int, int]]:
        """Yield (row, slot, effect) for every effect that applies, numbering the effects as they appear."""
        for number, (row, setting) in enumerate(zip(rows, self.settings, strict=True)):
            own = self._own_network(row)
            for slot in np.flatnonzero(counts[number]):
                for key, width in [*self.applying(setting, int(slot)), *own]:
                    if key not in self._index:
                        self._index[key] = len(self._index)
                        self._widths.append(width)
                    yield number, int(slot), self._index[key]

    def _own_network(self, row: Measured) -> Effects:
        if row.proxy is None:
            return []
        width = self.priors.unknown_network if row.scale is None else self.priors.similar_network
        return [(("network", row.proxy), width)]

    def applying(self, setting: Setting, slot: int) -> Effects:
        """Return the effects on one slot's pace and the widths of their priors."""
        group, outer = SLOTS[slot]
        engine, core, p = setting.family, setting.core, self.priors
        effects: Effects = [
            (("issue", _ISSUE[core]), p.issue),
            (("core", core), p.core),
            (("engine", engine), p.engine),
            (("group", group), p.group),
            (("engine group", engine, group), p.engine_group),
            (("core group", core, group), p.core_group),
            (("engine core", engine, core), p.engine_core),
            (("engine core group", engine, core, group), p.engine_core_group),
            (("board", setting.board or ""), p.own_board if setting.board in self._own_boards else p.board),
        ]
        if setting.release is not None:
            effects += [
                (("release", setting.release), p.release),
                (("release core", setting.release, core), p.release_core),
                (("release group", setting.release, group), p.release_group),
            ]
        if group in _WINDOWS:
            effects.append((("engine windows", engine), p.engine_windows))
        if outer and group in _HAS_INNER:
            effects += [(("outer",), p.outer), (("engine outer", engine), p.engine_outer)]
        return effects

    def log_pace(self, setting: Setting) -> NDArray[np.float64]:
        """Return the logarithm of the cycles per instruction of every slot."""
        return np.array([self._sum(self.applying(setting, slot)) for slot in range(len(SLOTS))])

    def effect(self, key: Key) -> float:
        """Return one fitted effect, 0 (its prior mean) where nothing told."""
        return float(self.effects[self._index[key]]) if key in self._index else 0.0

    def _sum(self, effects: Effects) -> float:
        return sum(self.effect(key) for key, _ in effects)

    def slot_covariance(self, setting: Setting) -> NDArray[np.float64]:
        """Return the covariance of the slots' log paces: of fitted effects the posterior, of new ones the prior."""
        gradient = np.zeros((len(SLOTS), len(self.effects)))
        new: dict[Key, tuple[float, NDArray[np.float64]]] = {}
        for slot in range(len(SLOTS)):
            for key, width in self.applying(setting, slot):
                if key in self._index:
                    gradient[slot, self._index[key]] = 1.0
                else:
                    new.setdefault(key, (width, np.zeros(len(SLOTS))))[1][slot] = 1.0
        known: NDArray[np.float64] = gradient @ self.covariance @ gradient.T
        return known + sum(width**2 * np.outer(mask, mask) for width, mask in new.values())


class Design:
    """Which effects apply to which slots of which rows, as three arrays.

    Args:
        entries: (row, slot, effect), each effect numbered from 0.
        rows: How many rows there are.
    """

    def __init__(self, entries: Iterable[tuple[int, int, int]], rows: int) -> None:
        table = np.array(list(entries), dtype=np.int64)
        self.row, self.slot, self.effect = table.T
        self.shape = (rows, len(SLOTS))
        self.effects = int(self.effect.max()) + 1

    def log_paces(self, effects: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of the effects on every slot of every row."""
        paces = np.zeros(self.shape)
        np.add.at(paces, (self.row, self.slot), effects[self.effect])
        return paces

    def jacobian(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how the logarithm of every row's cycles moves with the effects, from its slots' shares of them."""
        jacobian = np.zeros((self.shape[0], self.effects))
        np.add.at(jacobian, (self.row, self.effect), shares[self.row, self.slot])
        return jacobian


def posterior_mode(
    design: Design,
    counts: NDArray[np.float64],
    logs: NDArray[np.float64],
    precisions: NDArray[np.float64],
    prior_precisions: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the effects at the mode and the inverse curvature there, by reweighted Gauss-Newton steps.

    Args:
        design: Which effects apply where.
        counts: Instructions of every row and slot, at a pace of 1 or at any that the effects are to correct.
        logs: Logarithms of the measured cycles.
        precisions: Of the rows' errors.
        prior_precisions: Of the effects around 0.
    """
    effects: NDArray[np.float64] = np.zeros(design.effects)
    curvature: NDArray[np.float64] = np.diag(prior_precisions)
    for _ in range(_MAX_STEPS):
        cycles = np.exp(design.log_paces(effects)) * counts
        totals = cycles.sum(axis=1)
        residuals = logs - np.log(totals)
        jacobian = design.jacobian(cycles / totals[:, None])
        # The weights of Student-t errors: a residual of many standard deviations counts as one of few.
        weights = precisions * (_STUDENT_DEGREES + 1) / (_STUDENT_DEGREES + residuals**2 * precisions)
        curvature = (jacobian.T * weights) @ jacobian + np.diag(prior_precisions)
        step = np.linalg.solve(curvature, jacobian.T @ (weights * residuals) - prior_precisions * effects)
        effects = effects + step
        if np.abs(step).max() < _TOLERANCE:
            break
    return effects, np.asarray(np.linalg.inv(curvature), dtype=np.float64)


def _is_rough(row: Measured) -> bool:
    """Return whether a row tells less than a whole network does: a single layer, or a network known by its MACs."""
    return row.network is None
