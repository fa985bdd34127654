"""Splits by group: what must not be shared is not, and fractions are hit as nearly as the groups allow."""

from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobo.tinyml.tasks.data import TaskData, TaskError
from mobo.tinyml.tasks.parts import Part, RawTask, split_task
from mobo.tinyml.tasks.settings import NpzSettings, SplitSettings
from mobo.tinyml.tasks.splits import SLACK, Indices, cut, faults
from mobo.validation import validate
from tests.mobo.small_study import small_config

Ints = npt.NDArray[np.int64]


def grouped(table: list[list[int]]) -> tuple[Ints, Ints]:
    """Return labels and group ids of samples, from the number of samples of every class in every group."""
    rows = [
        (label, group) for group, row in enumerate(table) for label, samples in enumerate(row) for _ in range(samples)
    ]
    y, groups = np.array(rows, dtype=np.int64).T
    return y, groups


def sizes_of(y: Ints, parts: tuple[Indices, ...]) -> npt.NDArray[np.float64]:
    sizes = np.array([np.bincount(y[part], minlength=int(y.max()) + 1) for part in parts], dtype=np.float64)
    return sizes[:, sizes.any(axis=0)]


def fault(table: list[list[int]], part_of: tuple[int, ...], wanted: list[float]) -> float:
    """The slow twin of ``faults``, in plain words, of one assignment."""
    classes = [label for label in range(len(table[0])) if any(row[label] for row in table)]
    cells = {
        (part, label): sum(row[label] for row, of in zip(table, part_of, strict=True) if of == part)
        for part in range(len(wanted))
        for label in classes
    }
    total = sum(cells.values())
    off = 0.0
    for part, fraction in enumerate(wanted):
        off += abs(sum(cells[part, label] for label in classes) / total - fraction)
        for label in classes:
            off += abs(cells[part, label] - fraction * sum(cells[p, label] for p in range(len(wanted)))) / total
    missing = [cell for cell, samples in cells.items() if samples == 0]
    untrained = sum(part == len(wanted) - 1 for part, _ in missing)
    empty = sum(all((part, label) in missing for label in classes) for part in range(len(wanted)))
    weight = len(wanted) * len(classes) + 1
    return off / 4 + len(missing) + weight * untrained + weight * (len(classes) + 1) * empty


TABLES = st.integers(1, 3).flatmap(
    lambda classes: st.lists(
        st.lists(st.integers(0, 9), min_size=classes, max_size=classes).filter(any), min_size=3, max_size=6
    )
)
FRACTIONS = st.lists(st.sampled_from([0.1, 0.15, 0.2, 0.3]), min_size=1, max_size=2)


@settings(max_examples=60, deadline=None)
@given(table=TABLES, fractions=FRACTIONS, seed=st.integers(0, 50))
def test_no_group_is_in_two_parts_and_no_assignment_is_clearly_better(
    table: list[list[int]], fractions: list[float], seed: int
) -> None:
    y, groups = grouped(table)
    parts = cut(y, fractions, groups=groups, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    of = [set(groups[part]) for part in parts]
    assert sum(map(len, of)) == len(set(groups))
    wanted = [*fractions, 1 - sum(fractions)]
    best = min(fault(table, part_of, wanted) for part_of in product(range(len(wanted)), repeat=len(table)))
    found = float(faults(sizes_of(y, parts), np.array(wanted)))
    # Folds that hit the fractions are taken as they are: each part within a tenth of its size.
    assert found <= best + SLACK + 1e-9 or np.allclose(
        sizes_of(y, parts).sum(axis=1), np.array(wanted) * len(y), rtol=0.1
    )


@settings(max_examples=40, deadline=None)
@given(table=TABLES, seed=st.integers(0, 3), part_of=st.lists(st.integers(0, 2), min_size=6, max_size=6))
def test_faults_are_those_of_the_slow_twin(table: list[list[int]], seed: int, part_of: list[int]) -> None:
    y, groups = grouped(table)
    chosen = np.array(part_of)[groups]
    sizes = sizes_of(y, tuple(np.flatnonzero(chosen == part) for part in range(3)))
    wanted = [0.1, 0.25, 0.65]
    assert float(faults(sizes, np.array(wanted))) == pytest.approx(fault(table, tuple(part_of[: len(table)]), wanted))


def test_a_group_of_nearly_half_the_samples_is_trained_on_and_not_tested_with() -> None:
    # The first fold of scikit-learn is the group whose classes are most uneven: here 44 % of all samples.
    y, groups = grouped([[88, 0], [20, 20], [20, 20], [16, 16]])
    test, train = cut(y, [0.2], groups=groups, seed=0)
    assert len(test) / len(y) == pytest.approx(0.2, abs=0.03)
    assert set(y[train]) == {0, 1}


def test_many_unequal_groups_hit_the_fractions_and_other_seeds_give_other_splits() -> None:
    table = np.random.default_rng(1).integers(1, 60, size=(40, 3)).tolist()
    y, groups = grouped(table)
    cuts = [cut(y, [0.3, 0.3], groups=groups, seed=seed) for seed in range(4)]
    for parts in cuts:
        np.testing.assert_allclose(
            sizes_of(y, parts) / np.bincount(y), np.array([[0.3] * 3, [0.3] * 3, [0.4] * 3]), atol=0.03
        )
    assert len({tuple(sorted(set(groups[parts[0]]))) for parts in cuts}) == 4


def test_the_seed_goes_through_the_folds() -> None:
    y, groups = grouped([[5, 5]] * 20)
    tested = [set(groups[cut(y, [0.2], groups=groups, seed=seed)[0]]) for seed in range(5)]
    assert all(len(fold) == 4 for fold in tested)
    assert len({tuple(sorted(fold)) for fold in tested}) == 5


def task(table: list[list[int]], *, with_test: bool = False) -> RawTask:
    y, groups = grouped(table)
    x = np.random.default_rng(0).normal(size=(len(y), 1, 2, 1)).astype(np.float32)
    test = Part(x, y, groups + 1000) if with_test else None
    return RawTask("data", tuple("abc"[: len(table[0])]), Part(x, y, groups), test)


def of_the_cut(data: TaskData) -> tuple[str, ...]:
    """What is said of the splits, but not of how few judge."""
    return tuple(note for note in data.notes if not note.startswith("designs are judged on"))


def test_that_few_groups_judge_is_told_with_what_would_help() -> None:
    (note,) = split_task(task([[10, 10]] * 10), SplitSettings()).notes
    assert note == (
        "designs are judged on 2 groups alone, which says little of others; `mobo confirm RUN --folds 6` then judges the "
        "front on all that are not test, in turn"
    )
    assert "1 group alone" in split_task(task([[10, 10]] * 4), SplitSettings()).notes[0]
    assert split_task(task([[10, 10]] * 20), SplitSettings()).notes == ()
    assert split_task(task([[10, 10]] * 10), SplitSettings(folds=8)).notes == ()


def test_with_too_few_groups_reward_and_validation_share_them_and_it_is_said() -> None:
    data = split_task(task([[10, 10]] * 3), SplitSettings())
    assert {count.name: (count.samples, count.groups) for count in data.counts} == {
        "train": (20, 1),
        "reward": (9, 1),
        "validation": (11, 1),
        "test": (20, 1),
    }
    assert of_the_cut(data) == (
        "with 3 groups the reward and the validation split share theirs; 4 would be enough for groups of their own",
    )
    own = split_task(task([[10, 10]] * 4), SplitSettings())
    assert of_the_cut(own) == ()
    assert [count.groups for count in own.counts] == [1, 1, 1, 1]
    shared = split_task(task([[10, 10]] * 20), SplitSettings(reward_groups="shared"))
    assert shared.validation_groups is not None
    assert {count.name: count.groups for count in shared.counts} == {
        "train": 10,
        "reward": 6,
        "validation": 6,
        "test": 4,
    }


@pytest.mark.parametrize("with_test", [False, True])
def test_the_folds_are_all_that_is_not_test_each_group_in_one(with_test: bool) -> None:
    raw = task([[3, 4], [5, 2], [4, 4], [6, 3], [2, 2], [4, 5]], with_test=with_test)
    whole = split_task(raw, SplitSettings())
    seen: list[int] = []
    for fold in range(3):
        data = split_task(raw, SplitSettings.model_validate({"folds": 3, "fold": fold}))
        assert data.validation_groups is not None
        seen += np.unique(data.validation_groups).tolist()
        assert torch.equal(data.load_test().y, whole.load_test().y)
        assert sum(map(len, (data.train, data.reward, data.validation))) == sum(
            map(len, (whole.train, whole.reward, whole.validation))
        )
        groups = {count.name: count.groups or 0 for count in data.counts}
        assert sum(groups[name] for name in ("train", "reward", "validation")) == 6 - groups["test"] * (not with_test)
    assert len(seen) == len(set(seen))


def test_folds_of_samples_without_groups_are_cut_by_class() -> None:
    raw = RawTask("data", ("a", "b"), Part(np.zeros((40, 1, 1, 1), np.float32), np.arange(40) % 2))
    data = [split_task(raw, SplitSettings.model_validate({"folds": 4, "fold": fold})) for fold in range(4)]
    assert [np.bincount(part.validation.y).tolist() for part in data] == [[4, 4]] * 4


def test_more_folds_than_groups_are_refused() -> None:
    raw = task([[3, 4], [5, 2], [4, 4], [6, 3], [2, 2]], with_test=True)
    with pytest.raises(TaskError, match=r"cannot be cut into 6 folds: ask for at most 5 \(task.folds\)"):
        split_task(raw, SplitSettings.model_validate({"folds": 6}))


@pytest.mark.parametrize(
    ("given_folds", "message"),
    [
        ({"fold": 1}, "fold = 1 needs folds"),
        ({"folds": 3, "fold": 3}, "fold = 3 is none of 3 folds; allowed are 0 to 2"),
    ],
)
def test_a_fold_is_one_of_the_folds(given_folds: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitSettings.model_validate(given_folds)


def test_a_class_of_few_groups_lets_reward_and_validation_share() -> None:
    # Class b is in two groups: with a test split of its own, one to train on and one for reward and validation.
    table = [[10, 0]] * 6 + [[10, 10]] * 2
    data = split_task(task(table, with_test=True), SplitSettings())
    assert all(all(count.by_class.values()) for count in data.counts)
    assert "so that no split lacks a class" in of_the_cut(data)[0]
    own = split_task(task(table, with_test=True), SplitSettings(reward_groups="own"))
    assert [note for note in of_the_cut(own) if "class 'b' is missing in" in note] == list(of_the_cut(own))


@pytest.mark.parametrize(
    ("groups", "with_test", "changes", "message"),
    [
        (2, False, {}, r"2 groups cannot be cut .* share theirs: give at least 3 groups \(they come from task\.group_key\), "
         r"or give test data of other groups \(x_test and y_test\)"),
        (1, True, {}, r"1 groups cannot be cut into train, reward and validation .* give at least 2 groups"),
        (3, False, {"reward_groups": "own"}, r'give at least 4 groups .*, or set task\.reward_groups = "shared"'),
    ],
)  # fmt: skip
def test_too_few_groups_say_what_would_do(groups: int, with_test: bool, changes: dict[str, str], message: str) -> None:
    values = {"name": "npz", "file": Path("data.npz")} | changes
    with pytest.raises(TaskError, match=message):
        split_task(task([[10, 10]] * groups, with_test=with_test), NpzSettings.model_validate(values))


def test_a_class_of_one_group_is_trained_on_and_its_lack_elsewhere_is_told() -> None:
    data = split_task(task([[10, 0]] * 9 + [[0, 10]]), SplitSettings())
    assert of_the_cut(data) == (
        "class 'b' is missing in reward and validation and test: what is measured there says nothing of it",
    )


def test_validation_prints_every_split_and_warns(tmp_path: Path) -> None:
    y, groups = grouped([[10, 0]] * 9 + [[0, 10]])
    np.savez(tmp_path / "a.npz", x_train=np.random.default_rng(0).normal(size=(100, 8, 8, 1)), y_train=y, g=groups)
    file = str(tmp_path / "a.npz")
    lines = validate(small_config(f"task={{name='npz', file='{file}', layout='hwc', group_key='g'}}")).lines
    assert any(line.startswith("train: ") and " groups, 2 classes (0 " in line and ", 1 10)" in line for line in lines)
    assert [line.partition(":")[0] for line in lines if "samples of" in line] == [
        "train",
        "reward",
        "validation",
        "test",
    ]
    assert "warning: class '1' is missing in reward and validation and test" in "\n".join(lines)
