"""Network families: which architectures a search may draw from.

A family is one module with one class that lists its hyperparameters and builds a network from a design. The names
live in
:data:`FAMILIES`; torch is imported only when a network is built.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from hw_models.errors import unknown_name
from mobo.errors import MoboError

if TYPE_CHECKING:
    from mobo.networks.family import NetworkFamily

FAMILIES = {
    "residual": "mobo.networks.residual:ResidualFamily",
    "ds_cnn": "mobo.networks.ds_cnn:DSCNNFamily",
    "mobilenet_v1": "mobo.networks.mobilenet_v1:MobileNetV1Family",
    "mobilenet_v3": "mobo.networks.mobilenet_v3:MobileNetV3Family",
    "cnn1d": "mobo.networks.cnn1d:CNN1DFamily",
}


def network_families() -> tuple[str, ...]:
    """Return the names of all network families."""
    return tuple(FAMILIES)


def load_family(name: str) -> "NetworkFamily":
    """Return the family of that name.

    Raises:
        MoboError: No family has that name.
    """
    if name not in FAMILIES:
        raise MoboError(unknown_name("network family", name, FAMILIES))
    module, attribute = FAMILIES[name].split(":")
    family: NetworkFamily = getattr(import_module(module), attribute)()
    return family
