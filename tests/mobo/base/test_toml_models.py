"""Models from TOML: sections that are models or dataclasses, alternatives of unions, keys that were renamed."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from mobo.base.errors import ConfigError
from mobo.base.toml_models import parse_toml, read_config_text


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


def _refused(path: Path) -> None:
    raise PermissionError(13, "Permission denied", str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path, patch: None, "cannot be read: No such file or directory"),
        (lambda path, patch: patch.setattr(os, "open", lambda *_: _refused(path)), "cannot be read: Permission denied"),
        (lambda path, patch: path.mkdir(), "is no regular file; folders, pipes and devices are not read"),
        (lambda path, patch: path.write_bytes(b"trials = 1 # \xff"), "is not UTF-8: invalid start byte at byte 13"),
    ],
)
def test_why_a_config_cannot_be_read_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., object], reason: str
) -> None:
    path = tmp_path / "study.toml"
    make(path, monkeypatch)
    with pytest.raises(ConfigError) as caught:
        read_config_text(path)
    assert str(caught.value) == f"the config {path} {reason}"
