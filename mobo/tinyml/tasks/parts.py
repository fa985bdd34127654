"""What every loader returns, before it is split: raw samples with labels and, where known, group ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from envs.compression.float_network.purpose import RECONSTRUCTION, Classification, Purpose, Regression
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import StoredInputs
from mobo.tinyml.tasks.data import (
    FloatArray,
    IntArray,
    Labels,
    Sensor,
    SplitCount,
    Standardisation,
    TaskData,
    TaskError,
    to_samples,
)
from mobo.tinyml.tasks.settings import SplitSettings
from mobo.tinyml.tasks.splits import Indices, cut, strata_of

Array = npt.NDArray[np.generic]

_FEW_JUDGES, _MOST_FOLDS = 2, 6


@dataclass(frozen=True)
class Part:
    """Samples of one part of a data set.

    Attributes:
        x: Raw values ``(N, H, W, C)``, or where they stay on disk.
        y: Classes ``(N,)``, int64; or labels that are real numbers ``(N, labels)``, float32.
        groups: Group ids ``(N,)`` (speaker, subject, device), or None where samples are independent.
    """

    x: FloatArray | StoredInputs
    y: Labels
    groups: Array | None = None

    @property
    def raw(self) -> FloatArray:
        """The raw values, in memory."""
        return (
            np.concatenate(list(self.x.raw_chunks())).astype(np.float32) if isinstance(self.x, StoredInputs) else self.x
        )

    @property
    def sample_shape(self) -> tuple[int, int, int]:
        """``(H, W, C)``."""
        if isinstance(self.x, StoredInputs):
            _, channels, height, width = self.x.shape
        else:
            _, height, width, channels = self.x.shape
        return height, width, channels

    def at(self, indices: Indices) -> "Part":
        """Return the samples at some positions."""
        x = self.x.at(indices) if isinstance(self.x, StoredInputs) else self.x[indices]
        return Part(x, self.y[indices], None if self.groups is None else self.groups[indices])


@dataclass(frozen=True)
class Told:
    """What the files of a folder tell together.

    Attributes:
        notes: What the user should know of how they were read, one sentence each.
        sensor: What gave them; None where nothing is known of it.
    """

    notes: tuple[str, ...] = ()
    sensor: Sensor | None = None


@dataclass(frozen=True)
class RawTask:
    """A data set as its loader found it.

    Attributes:
        source: Names it in messages, e.g. the path of its file.
        class_names: One name per class, in label order; none where labels are real numbers.
        known: What training, reward and validation splits are cut from.
        test: The test split; None where it has to be cut off as well.
        normal: Labels of the normal classes, where the others are anomalies to detect: only normal samples are trained
            on. None where classes are told apart.
        notes: What the user should know of how they were read, one sentence each.
        sensor: What gave them; None where nothing is known of it.
        label_names: One name per label that is a real number; none where samples have classes.

    Raises:
        TaskError: Fewer than two classes or labels without spread, labels without a name, values that are not finite,
            or a test part that does not fit.
    """

    source: str
    class_names: tuple[str, ...]
    known: Part
    test: Part | None = None
    normal: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    sensor: Sensor | None = None
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, part in self.parts.items():
            self._check_values(f"{self.source}: x_{name}", part.x)
            if self.label_names:
                self._check_numbers(f"{self.source}: y_{name}", part.y)
            else:
                self._check_labels(f"{self.source}: y_{name}", part.y)
        if self.label_names:
            self._check_spread()
        else:
            self._check_classes()
        if self.test is not None:
            self._check_test(self.test)

    @property
    def parts(self) -> Mapping[str, Part]:
        """The parts there are, by name."""
        return {"train": self.known} if self.test is None else {"train": self.known, "test": self.test}

    def _check_values(self, what: str, x: FloatArray | StoredInputs) -> None:
        if isinstance(x, StoredInputs):
            return  # checked as they were stored
        if not np.isfinite(x).all():
            bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).sum())
            raise TaskError(
                f"{what} holds NaN or infinite values in {bad} of {len(x)} samples (in float32); clean or drop them"
            )

    def _check_classes(self) -> None:
        classes = np.unique(self.known.y)
        if len(classes) < 2:
            raise TaskError(
                f"{self.source}: y_train holds only class {int(classes[0])}; "
                "a classification task needs at least two classes"
            )

    def _check_numbers(self, what: str, y: Labels) -> None:
        bad = int((~np.isfinite(y)).any(axis=1).sum())
        if bad:
            raise TaskError(
                f"{what} holds NaN or infinite labels in {bad} of {len(y)} samples (in float32); drop these samples"
            )

    def _check_spread(self) -> None:
        for name, values in zip(self.label_names, self.known.y.T, strict=True):
            if (values == values[0]).all():
                raise TaskError(
                    f"{self.source}: the label {name!r} is {values[0]:g} in all {len(values)} training samples, so "
                    "there is nothing to estimate; drop it, or give samples of other values"
                )

    def _check_labels(self, what: str, y: Labels) -> None:
        count = len(self.class_names)
        if y.min() < 0 or y.max() >= count:
            raise TaskError(
                f"{what} holds labels {y.min()} to {y.max()}; with {count} classes allowed are 0 to {count - 1}"
            )

    def _check_test(self, test: Part) -> None:
        if test.sample_shape != self.known.sample_shape:
            raise TaskError(
                f"{self.source}: x_test has samples of shape {test.sample_shape}, x_train of "
                f"{self.known.sample_shape}; they must be equal"
            )
        if self.known.groups is not None and test.groups is not None:
            both = np.intersect1d(self.known.groups, test.groups)
            if len(both):
                raise TaskError(
                    f"{self.source}: {len(both)} groups are in both train and test, e.g. {both[0]}; "
                    "the test error would be too good"
                )


def _standardisation(part: Part, settings: SplitSettings, source: str) -> Standardisation:
    """Return what the settings give, else what the samples of the training split do."""
    if settings.mean is None or settings.deviation is None:
        return Standardisation.of(part.x, settings.standardise)
    channels = part.sample_shape[-1]
    if len(settings.mean) not in (1, channels):
        raise TaskError(
            f"task.mean and task.deviation have {len(settings.mean)} numbers; {source} has {channels} channels: "
            "give one number, or one per channel"
        )
    return Standardisation.given(settings.mean, settings.deviation)


def split_task(raw: RawTask, settings: SplitSettings) -> TaskData:
    """Cut a data set into its four splits and standardise it by its training split.

    Raises:
        TaskError: A class or the number of groups is too small to be cut.
    """
    strata = strata_of(raw.known.y, raw.known.groups)
    parts, notes = _cut(raw, strata, settings)
    train, test = parts["train"], parts["test"]
    if raw.normal is not None:
        train = train.at(np.flatnonzero(np.isin(train.y, raw.normal)))
    counts = tuple(_count(name, part, raw) for name, part in {**parts, "train": train}.items())
    standardisation = _standardisation(train, settings, raw.source)
    height, width, channels = train.sample_shape
    samples_of = partial(
        _samples, standardisation=standardisation, normal=raw.normal, purpose=_purpose(raw, train, settings)
    )
    return TaskData(
        input_shape=(height, width, channels),
        class_names=raw.class_names if raw.normal is None else ("normal", "anomalous"),
        train=samples_of(train),
        reward=samples_of(parts["reward"]),
        validation=samples_of(parts["validation"]),
        load_test=lambda: samples_of(test),
        standardisation=standardisation,
        validation_groups=parts["validation"].groups,
        test_groups=test.groups,
        counts=counts,
        notes=(*raw.notes, *notes, *_missing_classes(raw, counts), *_few_judges(counts, settings)),
        sensor=raw.sensor,
        label_names=raw.label_names,
        source=raw.source,
    )


def _purpose(raw: RawTask, train: Part, settings: SplitSettings) -> Purpose:
    """Return what networks are trained for; that the loader's labels are what the settings ask for is its own care."""
    if raw.normal is not None:
        return RECONSTRUCTION
    match settings.error:
        case "mae" | "rmse":
            return _with_given_labels(Regression.of(train.y, settings.error), settings, raw.source)
        case _:
            return Classification(settings.error)


def _with_given_labels(purpose: Regression, settings: SplitSettings, source: str) -> Regression:
    """Return a regression whose outputs stand for what the settings say, if they do."""
    given, deviation, count = settings.label_mean, settings.label_deviation, len(purpose.mean)
    if given is None or deviation is None:
        return purpose
    if len(given) not in (1, count):
        raise TaskError(
            f"task.label_mean has {len(given)} numbers; {source} has {count} labels: give one number, or one per label"
        )
    return replace(purpose, mean=tuple(np.broadcast_to(given, count).tolist()), deviation=deviation)


def _cut(raw: RawTask, strata: IntArray, settings: SplitSettings) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Return the four splits by name, and what is to be said of how they were cut; of each stratum all get a share."""
    known, seed = raw.known, settings.split_seed
    notes: tuple[str, ...] = ()
    # The folds are of what is left beside the test split that the study has without them.
    if known.groups is not None:
        found, notes = _cut_groups(strata, known.groups, settings, cuts_test=raw.test is None)
    elif raw.test is None:
        test, rest = cut(strata, [settings.test_fraction], groups=None, seed=seed)
        found = {"test": test, **{name: rest[part] for name, part in _cut_samples(strata[rest], settings).items()}}
    else:
        found = _cut_samples(strata, settings)
    if settings.folds is not None:
        found, notes = found | _fold(strata, known.groups, found, settings), ()
    parts = {name: known.at(found[name]) for name in ("train", "reward", "validation")}
    return parts | {"test": known.at(found["test"]) if raw.test is None else raw.test}, notes


def _fold(
    y: IntArray, groups: Array | None, found: Mapping[str, Indices], settings: SplitSettings
) -> dict[str, Indices]:
    """Return train, reward and validation with one fold of all their samples as the validation split."""
    folds = settings.folds or 1
    learnable = np.sort(np.concatenate([found[name] for name in ("train", "reward", "validation")]))
    ids = None if groups is None else groups[learnable]
    count = len(learnable) if ids is None else len(np.unique(ids))
    if count < folds:
        kind = "samples" if ids is None else f"groups ({settings.group_source})"
        raise TaskError(
            f"{count} {kind} that are not test cannot be cut into {folds} folds: ask for at most {count} "
            "(task.folds), or give more"
        )
    parts = cut(y[learnable], [1.0 / folds] * (folds - 1), groups=ids, seed=settings.split_seed)
    validation = learnable[parts[settings.fold]]
    others = np.setdiff1d(learnable, validation)
    # Of a single group reward and train both have samples.
    ids = None if groups is None or len(np.unique(groups[others])) < 2 else groups[others]
    share = min(settings.reward_fraction * folds / (folds - 1), 0.5)
    reward, train = cut(y[others], [share], groups=ids, seed=settings.split_seed)
    return {"validation": validation, "reward": others[reward], "train": others[train]}


def _cut_samples(y: IntArray, settings: SplitSettings) -> dict[str, Indices]:
    fractions = [settings.reward_fraction, settings.validation_fraction]
    found = cut(y, fractions, groups=None, seed=settings.split_seed)
    return dict(zip(("reward", "validation", "train"), found, strict=True))


def _cut_groups(
    y: IntArray, groups: Array, settings: SplitSettings, *, cuts_test: bool
) -> tuple[dict[str, Indices], tuple[str, ...]]:
    """Return the splits of samples with groups, all cut at once: what one takes, the others lack."""
    group_count, own_parts = len(np.unique(groups)), 4 if cuts_test else 3
    _check_groups(group_count, own_parts, settings)
    shared = settings.reward_groups == "shared"
    if settings.reward_groups == "auto" and group_count < own_parts:
        return _cut_held(y, groups, settings, cuts_test=cuts_test, shared=True), (
            f"with {group_count} groups the reward and the validation split share theirs; {own_parts} would be enough "
            "for groups of their own",
        )
    found = _cut_held(y, groups, settings, cuts_test=cuts_test, shared=shared)
    # Without a range of labels a split can be estimated as well.
    if settings.reward_groups == "auto" and not settings.is_regression and not _has_all_classes(y, found):
        other = _cut_held(y, groups, settings, cuts_test=cuts_test, shared=True)
        if _has_all_classes(y, other):
            return other, (
                "the reward and the validation split share groups, so that no split lacks a class; "
                'task.reward_groups = "own" keeps them apart',
            )
    return found, ()


def _check_groups(group_count: int, own_parts: int, settings: SplitSettings) -> None:
    needed = own_parts if settings.reward_groups == "own" else own_parts - 1
    if group_count >= needed:
        return
    splits = "train, reward and validation" if own_parts == 3 else "train, reward, validation and test"
    advice = f"give at least {needed} groups (they come from {settings.group_source})"
    if settings.reward_groups == "own" and group_count == needed - 1:
        advice += ', or set task.reward_groups = "shared"'
    elif own_parts == 4 and settings.own_test and group_count == needed - 1:
        advice += f", or give test data of other groups ({settings.own_test})"
    shared = "" if settings.reward_groups == "own" else ", even where reward and validation share theirs"
    raise TaskError(
        f"{group_count} groups cannot be cut into {splits} splits with groups of their own{shared}: {advice}"
    )


def _cut_held(
    y: IntArray, groups: Array, settings: SplitSettings, *, cuts_test: bool, shared: bool
) -> dict[str, Indices]:
    """Return the splits by name; with ``shared`` reward and validation are cut from the same groups."""
    known = 1.0 - settings.test_fraction if cuts_test else 1.0
    fractions = {"test": settings.test_fraction} if cuts_test else {}
    held = {"reward": known * settings.reward_fraction, "validation": known * settings.validation_fraction}
    fractions |= {"held": sum(held.values())} if shared else held
    found = cut(y, tuple(fractions.values()), groups=groups, seed=settings.split_seed)
    named = dict(zip((*fractions, "train"), found, strict=True))
    if shared:
        both = named.pop("held")
        share = held["reward"] / sum(held.values())
        reward, validation = cut(y[both], [share], groups=None, seed=settings.split_seed)
        named |= {"reward": both[reward], "validation": both[validation]}
    return named


def _has_all_classes(y: IntArray, splits: Mapping[str, Indices]) -> bool:
    return all(len(np.unique(y[indices])) == len(np.unique(y)) for indices in splits.values())


def _count(name: str, part: Part, raw: RawTask) -> SplitCount:
    groups = None if part.groups is None else len(np.unique(part.groups))
    if raw.label_names:
        values = {
            label: (float(column.min()), float(column.mean(dtype=np.float64)), float(column.max()))
            for label, column in zip(raw.label_names, part.y.T, strict=True)
        }
        return SplitCount(name, len(part.y), groups, {}, values)
    samples = np.bincount(part.y, minlength=len(raw.class_names))
    by_class = {class_name: int(count) for class_name, count in zip(raw.class_names, samples, strict=True)}
    return SplitCount(name, len(part.y), groups, by_class)


def _few_judges(counts: Sequence[SplitCount], settings: SplitSettings) -> tuple[str, ...]:
    """Return a sentence where so few groups are judged by that others may fare otherwise, and more can be had."""
    groups = {count.name: count.groups for count in counts}
    judges, learnable = groups["validation"], sum(groups[name] or 0 for name in ("train", "reward", "validation"))
    if settings.folds is not None or judges is None or judges > _FEW_JUDGES:
        return ()
    return (
        f"designs are judged on {judges} group{'s' * (judges > 1)} alone, which says little of others; `mobo confirm "
        f"RUN --folds {min(learnable, _MOST_FOLDS)}` then judges the front on all that are not test, in turn",
    )


def _missing_classes(raw: RawTask, counts: Sequence[SplitCount]) -> tuple[str, ...]:
    """Return a sentence for every class that a split should have, and has not."""
    normal = None if raw.normal is None else {raw.class_names[label] for label in raw.normal}
    lacking = {
        name: [
            split.name
            for split in counts
            if not split.by_class[name] and (split.name != "train" or normal is None or name in normal)
        ]
        for name in raw.class_names
    }
    return tuple(
        f"class {name!r} is missing in {' and '.join(splits)}: what is measured there says nothing of it"
        if "train" not in splits
        else f"class {name!r} is missing in {' and '.join(splits)}: it cannot be learnt"
        for name, splits in lacking.items()
        if splits
    )


def _samples(
    part: Part, *, standardisation: Standardisation, normal: Sequence[int] | None, purpose: Purpose
) -> LabelledSamples:
    y = part.y if normal is None else (~np.isin(part.y, normal)).astype(np.int64)
    return to_samples(part.x, y, standardisation, purpose)
