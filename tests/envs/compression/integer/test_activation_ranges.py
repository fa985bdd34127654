import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.integer.activation_ranges import RANGE_RULES, quantisation_of, quantisation_of_range
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.quantisation import quantise
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from tests.envs.compression.integer.test_quantisation import inputs
from tests.envs.networks import NETWORKS, build


def covered(tensor):
    """Return the real values of -128 and 127."""
    return tuple(tensor.scale * (end - tensor.zero_point) for end in (-128, 127))


def in_int8(values, tensor):
    integers = np.clip(np.rint(values / tensor.scale) + tensor.zero_point, -128, 127)
    return (integers - tensor.zero_point) * tensor.scale


def mean_square(values, rule):
    return float(np.mean((values - in_int8(values, quantisation_of("a", values, activation_ranges=rule))) ** 2))


VALUES = np.random.default_rng(0).normal(size=400_000).astype(np.float32)
OUTLIER = np.append(VALUES, np.float32(10.0))


def test_min_max_covers_everything():
    low, high = covered(quantisation_of("a", OUTLIER, activation_ranges="min-max"))
    assert (low, high) == pytest.approx((OUTLIER.min(), 10.0), abs=0.1)


def test_percentiles_leave_out_the_ends_alone():
    low, high = covered(quantisation_of("a", OUTLIER, activation_ranges="percentile"))
    # The quantile of 0.9999 of a normal distribution is 3.72.
    assert (low, high) == pytest.approx((-3.72, 3.72), abs=0.3)


def test_the_least_squares_beat_the_full_range_where_an_outlier_widens_it():
    # Clipping 10 at 6 costs 16 / 400,000 and makes the step finer by a quarter.
    assert mean_square(OUTLIER, "mse") < 0.8 * mean_square(OUTLIER, "min-max")


@pytest.mark.parametrize("mirror", [1, -1])
def test_the_least_squares_are_those_of_trying_every_pair_of_ends(mirror):
    values = mirror * np.append(OUTLIER[:50_000], [8.0, 9.0])
    shares = np.linspace(1.0, 0.3, 15)
    tried = [
        float(np.mean((values - in_int8(values, quantisation_of_range(values.min() * a, values.max() * b))) ** 2))
        for a in shares
        for b in shares
    ]
    assert mean_square(values, "mse") <= 1.02 * min(tried)


@given(st.integers(0, 1000), st.floats(-3, 3), st.sampled_from(["normal", "exponential", "uniform", "standard_t"]))
def test_the_least_squares_are_never_noticeably_worse_than_the_full_range(seed, shift, kind):
    draw = getattr(np.random.default_rng(seed), kind)
    values = (draw(3, size=2000) if kind == "standard_t" else draw(size=2000)) + shift
    # The search looks at a histogram, so a tie may go the other way by a little.
    assert mean_square(values, "mse") <= 1.05 * mean_square(values, "min-max") + 1e-12


@pytest.mark.parametrize("rule", RANGE_RULES)
@pytest.mark.parametrize("value", [0.0, 2.5, -1.0])
def test_a_constant_tensor_is_representable(rule, value):
    values = np.full(50, value, dtype=np.float32)
    tensor = quantisation_of("a", values, activation_ranges=rule)
    np.testing.assert_allclose(in_int8(values, tensor), values, atol=tensor.scale / 2)
    assert in_int8(np.zeros(1), tensor) == 0


@pytest.mark.parametrize("rule", RANGE_RULES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_name_the_tensor(rule, value):
    with pytest.raises(EnvError, match="tensor 'conv' is not finite on the calibration samples"):
        quantisation_of("conv", np.array([0.0, value]), activation_ranges=rule)


def test_an_unknown_rule_is_named():
    with pytest.raises(EnvError, match="unknown activation_ranges 'minmax'; did you mean 'min-max'"):
        quantisation_of("a", VALUES, activation_ranges="minmax")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", ["percentile", "mse"])
def test_every_network_answers_much_the_same_under_every_rule(name, rule):
    module, shape = build(name)
    traced, x = trace(module, shape), inputs(shape)
    full = quantise(module, traced, x)
    other = quantise(module, traced, x, activation_ranges=rule)
    # A few thousand values have no outlier that the least squares would give up for a finer step.
    assert rule == "mse" or dict(other.tensors) != dict(full.tensors)
    assert all(other.tensors[tensor].scale <= 1.000001 * full.tensors[tensor].scale for tensor in full.tensors)
    agreement = (IntegerInterpreter(other).predict(x) == IntegerInterpreter(full).predict(x)).double().mean()
    assert float(agreement) > 0.8
