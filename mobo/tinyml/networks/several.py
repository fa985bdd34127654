"""Several families as one: which of them a design is of is a hyperparameter, and each has its own under its own names.

``width`` of the family ``ds_cnn`` is ``ds_cnn_width``: the same word means another thing in another family. It belongs
to a design only where that family is chosen. This module imports no torch.
"""

from collections.abc import Collection, Hashable, Mapping
from typing import TYPE_CHECKING

from hw_models.graph.layer_graph import Shape
from mobo.base.frozen_mapping import FrozenMapping
from mobo.space.search_space import CategoricalParameter, OrdinalParameter, Parameter, Value

if TYPE_CHECKING:
    from torch import nn

    from mobo.tinyml.networks.family import NetworkFamily

FAMILY = "family"
"""The hyperparameter that chooses one of several families."""


def qualified(family: str, name: str) -> str:
    """Return what a hyperparameter of one of several families is called.

    >>> qualified("ds_cnn", "width")
    'ds_cnn_width'
    """
    return f"{family}_{name}"


def owners(parameters: Collection[Parameter]) -> dict[str, str]:
    """Return the family that each hyperparameter belongs to, by its name; nothing where there is one family only."""
    return {parameter.name: str(parameter.when[FAMILY][0]) for parameter in parameters if FAMILY in parameter.when}


def own_values(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values of a design of several families with those of its family under that one's own names.

    >>> own_values({"family": "ds_cnn", "ds_cnn_width": 8, "epochs": 3})
    {'width': 8, 'epochs': 3}
    """
    prefix = qualified(str(values[FAMILY]), "")
    return {name.removeprefix(prefix): value for name, value in values.items() if name != FAMILY}


def shared_values(values: Mapping[str, Value], family: str, names: Collection[str]) -> dict[str, Value]:
    """Return the values of a design of one family as those of a design of several; the way back of :func:`own_values`.

    Args:
        values: All hyperparameters of the design.
        family: Its family.
        names: The hyperparameters of that family, under its own names.

    >>> shared_values({"width": 8, "epochs": 3}, "ds_cnn", {"width"})
    {'family': 'ds_cnn', 'ds_cnn_width': 8, 'epochs': 3}
    """
    return {FAMILY: family} | {
        qualified(family, name) if name in names else name: value for name, value in values.items()
    }


def entry_alone(entry: Parameter | Value, family: str, owned: Mapping[str, str]) -> Parameter | Value | None:
    """Return what an entry of ``[space]`` comes to where the family is no choice any more; None if it says nothing.

    Conditions that always hold are dropped; what is never active is what it counts as.

    Args:
        entry: The entry, of the family or of no family.
        family: The only family.
        owned: What :func:`owners` returns.
    """
    if isinstance(entry, bool | int | float | str):
        return entry
    if family not in entry.when.get(FAMILY, (family,)) or any(owned.get(name, family) != family for name in entry.when):
        return entry.otherwise
    prefix = qualified(family, "")
    when = {name.removeprefix(prefix): values for name, values in entry.when.items() if name != FAMILY}
    return entry.model_copy(
        update={
            "name": entry.name.removeprefix(prefix),
            "when": FrozenMapping(when),
            "otherwise": entry.otherwise if when else None,
        }
    )


def _owned(family: str, name: str) -> dict[str, object]:
    """Return what is another of a hyperparameter that is one of several families'."""
    return {"name": qualified(family, name), "when": FrozenMapping({FAMILY: (family,)})}


class SeveralFamilies:
    """Several families as one.

    Args:
        families: The families by name, in the order in which the choice lists them.
    """

    def __init__(self, families: Mapping[str, "NetworkFamily"]) -> None:
        self._families = dict(families)

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return the choice of the family, then the hyperparameters of each, active where it is chosen."""
        return (
            CategoricalParameter(name=FAMILY, values=tuple(self._families)),
            *(
                parameter.model_copy(update=_owned(name, parameter.name))
                for name, family in self._families.items()
                for parameter in family.parameters(input_shape)
            ),
        )

    def unsearched(self) -> tuple[OrdinalParameter | CategoricalParameter, ...]:
        """Return those of every family."""
        return tuple(
            parameter.model_copy(update=_owned(name, parameter.name))
            for name, family in self._families.items()
            for parameter in family.unsearched()
        )

    def build(self, values: Mapping[str, Value], input_shape: Shape, output_count: int) -> "nn.Module":
        """Return the network of the chosen family."""
        family = self._families[str(values[FAMILY])]
        return family.build(own_values(values), input_shape, output_count)

    def distinct(self, values: Mapping[str, Value]) -> Mapping[str, Hashable]:
        """Return what the chosen family says of its own values; those of the others stay as they are."""
        family = str(values[FAMILY])
        own = self._families[family].distinct(own_values(values))
        return {name: own.get(name.removeprefix(qualified(family, "")), value) for name, value in values.items()}
