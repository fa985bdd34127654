"""Where processor time goes: what is looked at, and what it is counted for."""

from collections import Counter
from time import process_time

from experiments.benchmarks import trial_profile
from experiments.benchmarks.trial_speed import FAMILIES


def busy(seconds: float) -> None:
    end_s = process_time() + seconds
    while process_time() < end_s:
        pass


def test_the_time_of_a_function_is_counted_for_it() -> None:
    spent: Counter[str] = Counter()
    with trial_profile.sampled(lambda frame, seconds: spent.update({frame.f_code.co_name: seconds})):
        busy(0.2)
    assert 0.15 < spent["busy"] < 0.3


def test_a_function_belongs_to_the_stage_of_the_nearest_module_that_called_it() -> None:
    namespace = {"__name__": "envs.compression.training.recovery", "place_of": trial_profile.place_of}
    exec("import sys\ndef train_steps():\n    return place_of(sys._getframe())", namespace)
    assert namespace["train_steps"]() == ("fine-tuning", "train_steps")  # type: ignore[operator]


def test_the_page_names_the_largest_items_first() -> None:
    spent = Counter({("fine-tuning", "gradients"): 6.0, ("suggestion", "fit"): 3.0, ("else", "x"): 1.0})
    text = trial_profile.page({"residual": spent}, 4)
    assert "| residual | 10 | 60 % | 30 % | 10 % |" in text
    assert "| residual | fine-tuning: gradients, 60 % | suggestion: fit, 30 % | else: x, 10 % | - | - |" in text


def test_every_family_has_a_study() -> None:
    assert all(trial_profile.study_of(family, 4).network.family == family for family in FAMILIES)
