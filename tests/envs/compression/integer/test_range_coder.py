from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.integer.range_coder import TOTAL_LIMIT, Context, RangeDecoder, RangeEncoder


def encoded(bits, contexts):
    encoder = RangeEncoder()
    for number, bit in enumerate(bits):
        encoder.encode([(bit, contexts[number % len(contexts)])])
    return encoder.finish()


def decoded(data, count, contexts):
    decoder = RangeDecoder(data)
    return [decoder.decode(contexts[number % len(contexts)]) for number in range(count)]


@given(st.lists(st.integers(0, 1), max_size=400))
def test_bits_survive(bits):
    data = encoded(bits, [Context(), None, Context()])
    assert decoded(data, len(bits), [Context(), None, Context()]) == bits


@pytest.mark.parametrize("seed", range(4))
def test_long_runs_of_likely_bits_survive_with_their_carries(seed):
    # Ones behind a context that is sure of them push the low end up to 0xFFFF..., where carries are kept back.
    rng = np.random.default_rng(seed)
    bits = (rng.random(20_000) < [0.999, 0.5, 0.001, 0.9][seed]).astype(int).tolist()
    assert decoded(encoded(bits, [Context()]), len(bits), [Context()]) == bits


def test_a_context_comes_near_the_entropy():
    share, count = 0.1, 20_000
    bits = (np.random.default_rng(0).random(count) < share).astype(int).tolist()
    entropy = -(share * log2(share) + (1 - share) * log2(1 - share))
    assert 8 * len(encoded(bits, [Context()])) < 1.03 * entropy * count
    assert 8 * len(encoded(bits, [None])) == pytest.approx(count, rel=0.01)


def test_a_context_stays_unsure_and_never_rules_anything_out():
    context = Context()
    for _ in range(5000):
        context.learn(0)
    assert sum(context.counts) <= TOTAL_LIMIT
    assert min(context.counts) >= 1
    assert 0 < context.split(1 << 24) < 1 << 24


def test_zeros_at_the_end_cost_nothing():
    assert encoded([0] * 100, [None]) == b""
    assert decoded(b"", 100, [None]) == [0] * 100
