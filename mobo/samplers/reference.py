"""How a config says which sampler it means: one of ours by name, or a class of the user's own."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mobo.base.own_code import TARGET


class SamplerReference(BaseModel):
    """A sampler and its settings; ``name`` and ``class`` exclude each other.

    Attributes:
        name: Sampler as ``mobo samplers`` lists it.
        own_class: The key ``class``: ``package.module:Class`` of a sampler of your own.
        settings: Settings of that sampler.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = None
    own_class: Annotated[str | None, Field(alias="class", pattern=TARGET)] = None
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.name is None) == (self.own_class is None):
            raise ValueError(
                "name and class exclude each other, and one of them is needed: "
                'name = "sobol" for a sampler that `mobo samplers` lists, class = "package.module:Class" for your own'
            )
        if self.name is not None and ":" in self.name:
            raise ValueError(f'a sampler of your own is given by class = "{self.name}", not by name')
        return self

    @property
    def chosen(self) -> str:
        """The name, or the class: what :func:`mobo.samplers.build_sampler` takes."""
        return str(self.name if self.own_class is None else self.own_class)
