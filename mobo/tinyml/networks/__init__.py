"""Network families: which architectures a search may draw from.

A family is one module with one class that lists its hyperparameters and builds a network from a design. The names live
in :data:`FAMILIES`; torch is imported only when a family is loaded.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from hw_models.errors import unknown_name
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import MoboError
from mobo.tinyml.networks.several import SeveralFamilies

if TYPE_CHECKING:
    from mobo.tinyml.networks.family import NetworkFamily

OWN_MODULE = "module"
"""The family of a network of the user's own; the only one that needs to be told where it is."""

FAMILIES = {
    "residual": "mobo.tinyml.networks.residual:ResidualFamily",
    "ds_cnn": "mobo.tinyml.networks.ds_cnn:DSCNNFamily",
    "mobilenet_v1": "mobo.tinyml.networks.mobilenet_v1:MobileNetV1Family",
    "mobilenet_v3": "mobo.tinyml.networks.mobilenet_v3:MobileNetV3Family",
    "cnn": "mobo.tinyml.networks.plain_cnn:CNNFamily",
    "cnn1d": "mobo.tinyml.networks.plain_cnn:CNN1DFamily",
    "mlp": "mobo.tinyml.networks.mlp:MLPFamily",
    "lenet5": "mobo.tinyml.networks.lenet5:LeNet5Family",
    "autoencoder": "mobo.tinyml.networks.autoencoder:AutoencoderFamily",
    OWN_MODULE: "mobo.tinyml.networks.own_module:OwnModuleFamily",
}

_OWN_FILE = "mobo.tinyml.networks.own_file:OwnFileFamily"

ALSO_CALLED = {
    "resnet": "residual", "resnet8": "residual", "resnet18": "residual", "dscnn": "ds_cnn", "ds-cnn": "ds_cnn",
    "mobilenet": "mobilenet_v1", "mobilenetv1": "mobilenet_v1", "mobilenetv2": "mobilenet_v3",
    "mobilenetv3": "mobilenet_v3", "conv1d": "cnn1d", "1d-cnn": "cnn1d", "lenet": "lenet5", "lenet-5": "lenet5",
    "own": "module", "custom": "module", "conv2d": "cnn", "dense": "mlp", "fully_connected": "mlp",
}  # fmt: skip
"""What others call the families."""


def network_families() -> tuple[str, ...]:
    """Return the names of all network families."""
    return tuple(FAMILIES)


def load_family(name: str, module: str | None = None, weights: Path | None = None) -> "NetworkFamily":
    """Return the family of that name.

    Args:
        name: A key of :data:`FAMILIES`.
        module: ``package.module:function`` of the family ``module``; None for all others, and where ``weights`` says
            what the layers are.
        weights: State dict that its network starts from; without a module the file of a whole network.

    Raises:
        MoboError: No family has that name.
    """
    if name not in FAMILIES:
        raise MoboError(unknown_name("network family", name, FAMILIES, ALSO_CALLED))
    is_own = name == OWN_MODULE
    home, attribute = (_OWN_FILE if is_own and module is None else FAMILIES[name]).split(":")
    arguments = [] if not is_own else [weights] if module is None else [module, weights]
    family: NetworkFamily = getattr(import_module(home), attribute)(*arguments)
    return family


def hyperparameter_names(family: "NetworkFamily", input_shape: Shape) -> frozenset[str]:
    """Return what a network of a family depends on, searched by default or not."""
    return frozenset(parameter.name for parameter in (*family.parameters(input_shape), *family.unsearched()))


def load_families(names: Sequence[str], module: str | None = None) -> SeveralFamilies:
    """Return several families as one, which is a family itself.

    Args:
        names: Keys of :data:`FAMILIES`, each once.
        module: ``package.module:function`` of the family ``module``; None where it is not among them.

    Raises:
        MoboError: No family has one of the names.
    """
    return SeveralFamilies({name: load_family(name, module if name == OWN_MODULE else None) for name in names})
