"""What a design may do to its network beside pruning and bit widths, and the hyperparameters that say so."""

from collections.abc import Mapping
from dataclasses import dataclass

from mobo.space.search_space import CategoricalParameter, FloatParameter, OrdinalParameter, Parameter, Value
from mobo.tinyml.config import CompressionSettings

REPLACEMENT, LOW_RANK, SPARSITY = "replacement", "low_rank", "sparsity"
RANK_ENERGY, RANK_RATIO = "rank_energy", "rank_ratio"
NONE = "none"

ARCHITECTURE_NAMES = frozenset({REPLACEMENT, LOW_RANK, RANK_RATIO})
"""Those of the hyperparameters that change the layers, and with them the costs, before anything is trained."""

# Few ratios, so that designs share the architectures they lead to.
_RANK_RATIOS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


@dataclass(frozen=True)
class StructureChoice:
    """What one design does.

    Attributes:
        replacement: One of ``envs.compression.structure.replacement.REPLACEMENTS``, or ``"none"``.
        low_rank: One of ``envs.compression.structure.low_rank.FORMS``, or ``"none"``; else one of the next two decides
            the rank.
        rank_energy: Share of the squared singular values that the factors hold.
        rank_ratio: Parameters of the factors over those of their layer, at most.
        sparsity: Share of the weights that are zero.
    """

    replacement: str = NONE
    low_rank: str = NONE
    rank_energy: float | None = None
    rank_ratio: float | None = None
    sparsity: float = 0.0

    @property
    def follows_from_weights(self) -> bool:
        """Whether the layers are known only when the network is trained."""
        return self.low_rank != NONE and self.rank_energy is not None


def structure_choice(values: Mapping[str, Value]) -> StructureChoice:
    """Return what a design does, from all its hyperparameters; what is not among them is not done."""
    energy, ratio = values.get(RANK_ENERGY), values.get(RANK_RATIO)
    return StructureChoice(
        replacement=str(values.get(REPLACEMENT, NONE)),
        low_rank=str(values.get(LOW_RANK, NONE)),
        rank_energy=None if energy is None else float(energy),
        rank_ratio=None if ratio is None else float(ratio),
        sparsity=float(values.get(SPARSITY, 0.0)),
    )


def structure_entries(
    settings: CompressionSettings, space: Mapping[str, Parameter | Value]
) -> dict[str, Parameter | Value]:
    """Return the hyperparameters of what the settings allow, searched ones as their widest ranges, others fixed.

    Args:
        settings: The config's compression.
        space: The config's own word; it decides when the rank is a choice.
    """
    entries: dict[str, Parameter | Value] = {}
    if settings.replacement != (NONE,):
        entries[REPLACEMENT] = _choice(REPLACEMENT, settings.replacement)
    if settings.low_rank != (NONE,):
        entries[LOW_RANK] = _choice(LOW_RANK, settings.low_rank)
        chosen = space.get(LOW_RANK, entries[LOW_RANK])
        if chosen != NONE:
            name = RANK_ENERGY if settings.rank_by == "energy" else RANK_RATIO
            entries[name] = _rank(name, chosen)
    if settings.max_sparsity:
        entries[SPARSITY] = FloatParameter(name=SPARSITY, low=0.0, high=settings.max_sparsity)
    return entries


def upper_limits(settings: CompressionSettings) -> Mapping[str, float]:
    """Return the largest value of every hyperparameter here that has one."""
    return {RANK_ENERGY: 1.0, RANK_RATIO: 0.95, SPARSITY: settings.max_sparsity}


def _choice(name: str, values: tuple[str, ...]) -> Parameter | Value:
    return values[0] if len(values) == 1 else CategoricalParameter(name=name, values=values)


def _rank(name: str, low_rank: Parameter | Value) -> Parameter:
    forms = low_rank.values if isinstance(low_rank, CategoricalParameter | OrdinalParameter) else ()
    when = {LOW_RANK: tuple(form for form in forms if form != NONE)} if NONE in forms else {}
    if name == RANK_ENERGY:
        return FloatParameter(name=name, low=0.5, high=1.0, when=when, otherwise=1.0 if when else None)
    return OrdinalParameter(name=name, values=_RANK_RATIOS, when=when, otherwise=_RANK_RATIOS[-1] if when else None)
