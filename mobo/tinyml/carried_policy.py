"""The policy that a design carries itself: a share of channels, bit widths of weights, activations and storage.

It is the same in every layer, or changes evenly with the depth, or is what the shipped agent or a greedy rule makes of
one of its costs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from envs.compression.policy import STORAGE_BITS, CompressionPolicy
from envs.compression.structure.groups import compressed_graph
from envs.episode.choices import Assignment, ChoiceSpace
from envs.episode.walls import CostFunction
from envs.search.agent.pretrained import problem_at, shipped_agent
from envs.search.greedy import Sensitivities, compress
from hw_models.graph.layer_graph import LayerGraph
from mobo.base.errors import ConfigError
from mobo.space.search_space import FloatParameter, IntParameter, OrdinalParameter, Value
from mobo.tinyml.config import CompressionSettings, SpaceEntry, StudyConfig
from mobo.tinyml.hyperparameters import (
    ACTIVATION_BITS,
    AGENTS,
    GREEDY,
    KEEP,
    KEEP_GROWTH,
    NARROW_SHARE,
    PATCHES,
    POLICY,
    STORED_BITS,
    UNIFORM,
    WEIGHT_BITS,
    values_of,
)

_NOT_COARSER = 8
_AT_ONCE = 1
_MOST_PATCHES = 256

ASKED = frozenset({KEEP, KEEP_GROWTH, WEIGHT_BITS, NARROW_SHARE})
"""The hyperparameters that :func:`asked_assignment` reads."""

CARRIED = ASKED | {ACTIVATION_BITS, STORED_BITS, POLICY, PATCHES}
"""The hyperparameters that say what a design keeps, and so what it costs."""


def asked_assignment(choices: ChoiceSpace, values: Mapping[str, Value]) -> Assignment:
    """Return what a design asks for of every group, and its bit widths, whatever an agent makes of it."""
    return choices.graded(
        float(values[KEEP]),
        int(values[WEIGHT_BITS]),
        growth=float(values[KEEP_GROWTH]),
        narrow_share=float(values[NARROW_SHARE]),
    )


def as_stored(choices: ChoiceSpace, policy: CompressionPolicy, values: Mapping[str, Value]) -> CompressionPolicy:
    """Return a policy with a design's ``stored_bits`` in every layer that computes with more and is not protected."""
    stored = int(values[STORED_BITS])
    coarser = [name for name, bits in policy.weight_bits.items() if stored < bits and name not in choices.protected]
    return replace(policy, stored_bits=dict.fromkeys(coarser, stored))


def carried_assignment(choices: ChoiceSpace, values: Mapping[str, Value], cost_of: CostFunction) -> Assignment:
    """Return what a design keeps of every group, and its bit widths.

    With a policy that is not uniform it is the shipped agent's or the greedy one, in one cost no dearer than the
    uniform one of the same design and in the others not much; beside 16-bit activations there are no 4-bit weights in
    it, which no kernel computes with them.

    Args:
        choices: What may be kept of the design's network.
        values: The design's hyperparameters.
        cost_of: Cost of a graph on the device; not asked for a uniform policy.
    """
    asked = asked_assignment(choices, values)
    policy = str(values.get(POLICY, UNIFORM))
    if policy == UNIFORM:
        return asked
    wide = int(values[ACTIVATION_BITS]) > choices.weight_bits[-1]
    allowed = replace(choices, weight_bits=choices.weight_bits[-1:]) if wide else choices
    if policy in AGENTS:
        return shipped_agent().policy(allowed, cost_of, asked, tight=AGENTS[policy])
    problem = problem_at(allowed, cost_of, asked, tight=GREEDY[policy])
    found = compress(problem, Sensitivities(allowed), allowed.uncompressed)
    # Where the walls know of no policy inside, the greedy rule may end outside; what was asked for is inside.
    return found if problem.walls.inside(found) else asked


def carried_policy(choices: ChoiceSpace, values: Mapping[str, Value], cost_of: CostFunction) -> CompressionPolicy:
    """Return the policy a design carries: what it says of channels and widths, in every group and every layer.

    Args:
        choices: What may be kept of the design's network.
        values: The design's hyperparameters.
        cost_of: Cost of a graph on the device; not asked for a uniform policy.
    """
    assignment = carried_assignment(choices, values, cost_of)
    policy = as_stored(choices, choices.policy(assignment), values)
    return replace(policy, activation_bits={layer.name: int(values[ACTIVATION_BITS]) for layer in choices.layers})


def carried_graph(choices: ChoiceSpace, values: Mapping[str, Value], cost_of: CostFunction) -> LayerGraph:
    """Return the graph that :func:`carried_policy` leads to; its arguments."""
    policy = carried_policy(choices, values, cost_of)
    return compressed_graph(choices.graph, choices.groups, policy, channel_round=choices.channel_round)


def carried_entries(config: StudyConfig) -> dict[str, SpaceEntry]:
    """Return the hyperparameters of a carried policy, as the config's compression allows; one value is no choice.

    ``keep`` is the share of the channels that stay, ``keep_growth`` that of the last group over that of the first (1
    unless the config says more), ``weight_bits`` the bit width of the weights of every layer, or (``narrow_share``) of
    a share of the layers, the last ones,
    ``activation_bits`` that of what every layer reads and writes (16 only beside 8-bit weights), ``stored_bits`` the
    width its weights are stored with where that is less (8 unless the config says more), ``policy``
    how all this is spread over the layers (``"uniform"`` unless the config says more), ``patches`` in how many patches
    the generated C runs the first layers (1, all at once, unless the config says more).
    """
    settings = config.compression
    keep = FloatParameter(name=KEEP, low=settings.min_keep, high=1.0) if settings.min_keep < 1 else 1.0
    weights = _widths(WEIGHT_BITS, settings.weight_bits)
    activations = _widths(ACTIVATION_BITS, settings.activation_bits)
    weights_vary = not isinstance(config.space.get(WEIGHT_BITS, weights), bool | int | float | str)
    if weights_vary and isinstance(activations, OrdinalParameter):
        activations = activations.model_copy(update={"when": {WEIGHT_BITS: (8,)}, "otherwise": 8})
    return {
        KEEP: keep,
        KEEP_GROWTH: 1.0,
        WEIGHT_BITS: weights,
        NARROW_SHARE: 1.0,
        ACTIVATION_BITS: activations,
        STORED_BITS: _NOT_COARSER,
        POLICY: UNIFORM,
        PATCHES: _AT_ONCE,
    }


def check_carried(entries: Mapping[str, SpaceEntry], settings: CompressionSettings) -> None:
    """Check what a config made of these hyperparameters.

    Raises:
        ConfigError: A share or a width that the compression does not allow, or that no kernel computes.
    """
    keeps = [float(value) for value in values_of(entries[KEEP])]
    if min(keeps) < settings.min_keep or max(keeps) > 1:
        raise ConfigError(
            f"space.{KEEP} reaches from {min(keeps):g} to {max(keeps):g}; allowed is {settings.min_keep:g} "
            "(compression.min_keep) to 1"
        )
    if max(float(value) for value in values_of(entries[NARROW_SHARE])) > 1:
        raise ConfigError(f"space.{NARROW_SHARE} reaches beyond 1; it is a share of the layers, 0 to 1")
    for name, allowed in ((WEIGHT_BITS, settings.weight_bits), (ACTIVATION_BITS, (*settings.activation_bits, 8))):
        widths = entries[name]
        if isinstance(widths, FloatParameter | IntParameter) or not set(values_of(widths)) <= set(allowed):
            raise ConfigError(
                f"space.{name}: {widths!r} must be one or an ordinal of compression.{name}: "
                f"{', '.join(str(bits) for bits in sorted(set(allowed)))}"
            )
    _check_widths_together(entries[WEIGHT_BITS], entries[ACTIVATION_BITS])
    _check_stored(entries[STORED_BITS])
    _check_patches(entries[PATCHES])


def _widths(name: str, allowed: Iterable[int]) -> OrdinalParameter | int:
    widths = tuple(sorted(set(allowed)))
    return OrdinalParameter(name=name, values=widths) if len(widths) > 1 else widths[0]


def _check_widths_together(weights: SpaceEntry, activations: SpaceEntry) -> None:
    """Refuse a space with designs of 4-bit weights and 16-bit activations."""
    conditional = None if isinstance(activations, bool | int | float | str) else activations
    possible = set(values_of(weights))
    beside = possible if conditional is None else possible.intersection(conditional.when.get(WEIGHT_BITS, possible))
    if conditional is not None and conditional.otherwise == 16:
        beside = possible
    if 16 in values_of(activations) and 4 in beside:
        raise ConfigError(
            f"space.{ACTIVATION_BITS} can be 16 where {WEIGHT_BITS} is 4, which no kernel computes; fix {WEIGHT_BITS} "
            f"to 8, or make {ACTIVATION_BITS} conditional: when = {{{WEIGHT_BITS} = [8]}}, otherwise = 8"
        )


def _check_patches(patches: SpaceEntry) -> None:
    numbers = values_of(patches)
    if isinstance(patches, FloatParameter) or not all(1 <= int(number) <= _MOST_PATCHES for number in numbers):
        raise ConfigError(
            f"space.{PATCHES}: {patches!r} must be whole numbers from {_AT_ONCE} (all at once) to {_MOST_PATCHES}, "
            "one or a choice"
        )


def _check_stored(stored: SpaceEntry) -> None:
    allowed = (*STORAGE_BITS, _NOT_COARSER)
    if isinstance(stored, FloatParameter | IntParameter) or not set(values_of(stored)) <= set(allowed):
        raise ConfigError(
            f"space.{STORED_BITS}: {stored!r} must be one or an ordinal of {', '.join(map(str, allowed))}; "
            f"{_NOT_COARSER} stores the weights as they are computed with"
        )
