"""The TOML file of a benchmark: which problems, which samplers, which seeds, how many evaluations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hw_models.errors import unknown_name
from mobo.base.toml_models import parse_toml, read_config_text
from mobo.samplers.reference import SamplerReference

EXAMPLE = Path(__file__).with_name("example_benchmark.toml")
"""A complete config that comes with the package."""

_LABEL = r"^[a-z0-9][a-z0-9_.-]*$"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProblemChoice(_Section):
    """One problem of a benchmark.

    Attributes:
        name: Problem as ``mobo problems`` lists it.
        label: What tables and folders call it; the name if left out. One problem may come twice with other settings.
        settings: Settings of that problem.
    """

    name: str
    label: Annotated[str, Field(pattern=_LABEL)] = ""
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _name_is_label(cls, data: Any) -> Any:
        return {"label": data["name"]} | data if isinstance(data, dict) and "name" in data else data


class SamplerChoice(SamplerReference):
    """One sampler of a benchmark: ours, the user's own or a peer.

    Attributes:
        name: Sampler as ``mobo samplers`` lists it, or a peer of :mod:`mobo.benchmark.peers`.
        own_class: The key ``class``: ``package.module:Class`` of a sampler of your own, instead of a name.
        label: What tables and folders call it; the name if left out, or the class's name in lower case. One sampler may
            come twice with other settings.
        settings: Settings of that sampler.
        max_evaluations: An expensive sampler stops here; its cells count as capped, not as failed.
        max_minutes: The same by time: processor time of the suggestions and clock time of the evaluations.
        max_objectives: Problems with more objectives are left out for this sampler.
        seed_count: Only so many of the seeds, the first ones.
    """

    label: Annotated[str, Field(pattern=_LABEL)] = ""
    max_evaluations: Annotated[int, Field(ge=1)] | None = None
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    max_objectives: Annotated[int, Field(ge=1)] | None = None
    seed_count: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_or_class_is_label(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(name := data.get("name", data.get("class")), str):
            return data
        return {"label": name.partition(":")[2].lower() or name} | data


class ReportSettings(_Section):
    """What the tables compare.

    Attributes:
        subject: Label of the sampler that is held against the others; the first one if left out.
        rivals: Labels it is held against; all others if left out.
        checkpoints: Numbers of evaluations at which samplers are compared; without it those of 50, 100 and 150 that
            are reached, and the last.
    """

    subject: str | None = None
    rivals: tuple[str, ...] | None = None
    checkpoints: tuple[Annotated[int, Field(ge=1)], ...] | None = None


class BenchmarkConfig(_Section):
    """One benchmark.

    Attributes:
        name: Names the default folder; lower case letters, digits and dashes.
        seeds: Each gives every sampler the same start on a problem.
        evaluations: Designs tried per cell (one problem, one sampler, one seed), those of the start included.
        initial_trials: Designs of the start, which the benchmark draws and every sampler is shown.
        max_minutes: Time cap per cell, for samplers without their own; None for no cap.
        problems: What is searched.
        samplers: Who searches.
        report: What is compared.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    evaluations: Annotated[int, Field(ge=2)]
    initial_trials: Annotated[int, Field(ge=1)]
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    problems: Annotated[tuple[ProblemChoice, ...], Field(min_length=1)]
    samplers: Annotated[tuple[SamplerChoice, ...], Field(min_length=1)]
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _consistent(self) -> "BenchmarkConfig":
        if self.initial_trials >= self.evaluations:
            raise ValueError(
                f"initial_trials = {self.initial_trials} leaves nothing of evaluations = {self.evaluations}; lower it"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"the seeds {list(self.seeds)} must be distinct")
        for kind, labels in (("problem", self.problem_labels), ("sampler", self.sampler_labels)):
            doubled = [label for label in labels if labels.count(label) > 1]
            if doubled:
                raise ValueError(f"the {kind} label {doubled[0]!r} is used twice; give one of them another label")
        for label in (*([self.report.subject] if self.report.subject else []), *(self.report.rivals or ())):
            if label not in self.sampler_labels:
                raise ValueError(unknown_name("sampler label in [report]", label, self.sampler_labels))
        return self

    @property
    def problem_labels(self) -> tuple[str, ...]:
        """The problems' labels, in order."""
        return tuple(problem.label for problem in self.problems)

    @property
    def sampler_labels(self) -> tuple[str, ...]:
        """The samplers' labels, in order."""
        return tuple(sampler.label for sampler in self.samplers)

    @property
    def subject(self) -> str:
        """Label of the sampler that is held against the others."""
        return self.report.subject or self.sampler_labels[0]

    @property
    def rivals(self) -> tuple[str, ...]:
        """Labels of the samplers it is held against."""
        chosen = self.sampler_labels if self.report.rivals is None else self.report.rivals
        return tuple(label for label in chosen if label != self.subject)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of evaluations at which samplers are compared, ascending."""
        chosen = self.report.checkpoints or (50, 100, 150, self.evaluations)
        return tuple(sorted({count for count in chosen if count <= self.evaluations}))

    def to_toml(self) -> str:
        """Return the resolved config as TOML that :func:`load_benchmark_config` reads back to the same config."""
        return tomlkit.dumps(self.model_dump(mode="json", exclude_none=True, by_alias=True))


def load_benchmark_config(path: Path, overrides: Sequence[str] = ()) -> BenchmarkConfig:
    """Read a benchmark's config file.

    Args:
        path: TOML file.
        overrides: ``key=value`` strings, see :func:`mobo.base.toml_models.parse_toml`.

    Raises:
        ConfigError: The file is missing or not TOML, or a key or value is not allowed.
    """
    return parse_toml(BenchmarkConfig, read_config_text(path), overrides, source=str(path), example=str(EXAMPLE))
