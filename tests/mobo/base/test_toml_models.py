"""Models from TOML: sections that are models or dataclasses, alternatives of unions, keys that were renamed."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from mobo.base.errors import ConfigError
from mobo.base.toml_models import parse_toml


@dataclass(frozen=True)
class Wheel:
    """A section that is a dataclass."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    spokes: int = 8

    def __post_init__(self) -> None:
        if self.spokes < 0:
            raise ValueError(f"spokes is {self.spokes}; it must be at least 0")


class Bicycle(BaseModel):
    """One alternative."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["bicycle"]
    front: Wheel = Wheel()


class Boat(BaseModel):
    """The other one."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["boat"]
    sails: int


class Garage(BaseModel):
    """A file."""

    model_config = ConfigDict(extra="forbid")

    vehicle: Annotated[Bicycle | Boat, Field(discriminator="kind")]


def parsed(text: str, *overrides: str) -> Garage:
    return parse_toml(
        Garage,
        text,
        overrides,
        source="garage",
        example="garage.toml",
        tags=("bicycle", "boat"),
        renamed={"vehicle.ropes": "vehicle.sails"},
    )


def test_a_section_may_be_a_dataclass() -> None:
    found = parsed('vehicle = {kind = "bicycle"}', "vehicle.front.spokes=3")
    assert isinstance(found.vehicle, Bicycle)
    assert found.vehicle.front == Wheel(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('vehicle = {kind = "boat", sails = "x"}', r'^garage: vehicle\.sails = "x" is not allowed: .*integer'),
        ('vehicle = {kind = "boat"}', r"^garage: the key 'vehicle\.sails' is missing; see garage\.toml"),
        (
            'vehicle = {kind = "bicycle", front = {spoke = 3}}',
            r"^garage: unknown key 'vehicle\.front\.spoke'; did you mean 'vehicle\.front\.spokes'",
        ),
        (
            'vehicle = {kind = "bicycle", front = {spokes = -1}}',
            r"^garage: vehicle\.front = .* is not allowed: spokes is -1; it must be at least 0",
        ),
        (
            'vehicle = {kind = "boat", sails = 1, ropes = 3}',
            r"^garage: the key 'vehicle\.ropes' is called 'vehicle\.sails' now; write that name instead$",
        ),
    ],
)
def test_a_mistake_names_the_key_as_the_file_has_it(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(text)
