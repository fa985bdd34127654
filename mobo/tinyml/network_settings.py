"""The section ``[network]`` of a study's config: which family of architectures is searched, or which several."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hw_models.errors import unknown_name
from mobo.base.own_code import TARGET
from mobo.space.search_space import Value
from mobo.tinyml.networks import ALSO_CALLED, FAMILIES, OWN_MODULE, load_families, load_family
from mobo.tinyml.networks.several import FAMILY, own_values

if TYPE_CHECKING:
    from mobo.tinyml.networks.family import NetworkFamily


class NetworkSettings(BaseModel):
    """Which family of architectures is searched, or which several; ``family`` and ``families`` exclude each other.

    Attributes:
        family: Name of a network family, a key of ``mobo.tinyml.networks.FAMILIES``; ``residual`` where there are no
            families either.
        families: Names of at least two. The hyperparameter ``family`` then chooses one of them for every design, and
            those of each are called ``<family>_<name>``, e.g. ``ds_cnn_width``, and belong to its designs alone.
        module: ``package.module:function`` that returns your own ``torch.nn.Module``; goes with the family ``module``,
            alone or among several.
        weights: State dict of that network, as ``torch.save(network.state_dict(), "trained.pt")`` writes it: trainings
            start from it, and with ``space.epochs = 0`` there are none. With the family ``module`` alone. A ``.tflite``
            or ``.onnx`` file has the layers, too, and goes without a ``module``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str | None = None
    families: tuple[str, ...] | None = None
    module: Annotated[str, Field(pattern=TARGET)] | None = None
    weights: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _residual_by_default(cls, data: Any) -> Any:
        return {"family": "residual"} | data if isinstance(data, dict) and data.get("families") is None else data

    @field_validator("families")
    @classmethod
    def _known_and_distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is None:
            return None
        for name in names:
            if name not in FAMILIES:
                raise ValueError(unknown_name("network family", name, FAMILIES, ALSO_CALLED))
            if names.count(name) > 1:
                raise ValueError(f"the family {name!r} is listed twice; once is enough")
        if len(names) < 2:
            raise ValueError('list at least two; one alone is the key family, e.g. family = "ds_cnn"')
        return names

    @model_validator(mode="after")
    def _one_way(self) -> "NetworkSettings":
        if self.families is not None and self.family is not None:
            raise ValueError(
                f'family = "{self.family}" and families = {list(self.families)} exclude each other; drop one of them'
            )
        return self

    @model_validator(mode="after")
    def _module_goes_with_its_family(self) -> "NetworkSettings":
        is_file = self.names == (OWN_MODULE,) and self.weights is not None
        if is_file or (OWN_MODULE in self.names) == (self.module is not None):
            return self
        if self.families is not None:
            raise ValueError(
                f"families = {list(self.families)} and module = {self.module!r} do not go together; a network of your "
                f'own needs "{OWN_MODULE}" among the families and module = "package.module:function"'
            )
        raise ValueError(
            f'family = "{self.family}" and module = {self.module!r} do not go together; a network of your own '
            f'needs family = "{OWN_MODULE}" and module = "package.module:function", or weights = "trained.tflite" (or '
            f".onnx), every other family no module"
        )

    @model_validator(mode="after")
    def _weights_are_of_one_network(self) -> "NetworkSettings":
        if self.weights is not None and self.names != (OWN_MODULE,):
            raise ValueError(f'weights = "{self.weights}" are those of one network; they need family = "{OWN_MODULE}"')
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The families that are searched, one or several."""
        return (str(self.family),) if self.families is None else self.families

    def load(self) -> "NetworkFamily":
        """Return what lists the hyperparameters and builds the networks: the family, or several as one.

        Raises:
            MoboError: The family does not exist.
        """
        if self.families is None:
            return load_family(str(self.family), self.module, self.weights)
        return load_families(self.families, self.module)

    def alone(self, family: str) -> "NetworkSettings":
        """Return the settings of one of the families alone."""
        return NetworkSettings(family=family, module=self.module if family == OWN_MODULE else None)

    def of_one_family(self, values: Mapping[str, Value]) -> "tuple[NetworkSettings, dict[str, Value]]":
        """Return the settings of a design's family alone, and the design's values under that family's own names.

        Args:
            values: All hyperparameters of the design.
        """
        if self.families is None:
            return self, dict(values)
        return self.alone(str(values[FAMILY])), own_values(values)
