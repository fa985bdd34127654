"""The planner: hand-planned cases, a slow obvious one, properties."""

from hypothesis import given, settings
from hypothesis import strategies as st

from hw_models.memory.placement import Buffer, place_greedily

BUFFERS = st.lists(
    st.builds(
        lambda size, first, length: Buffer("b", 16 * size, first, first + length),
        st.integers(1, 6), st.integers(0, 6), st.integers(0, 4),
    ),
    min_size=1, max_size=10,
)  # fmt: skip


def slow_plan(buffers: list[Buffer]) -> tuple[Buffer, ...]:
    """Try every offset in turn, byte block by byte block, for the largest buffer first (of equals the last)."""
    todo = list(range(len(buffers)))
    done: dict[int, Buffer] = {}
    while todo:
        index = max(todo, key=lambda i: (buffers[i].size_bytes, i))
        todo.remove(index)
        wanted = buffers[index]
        for offset in range(0, 10**6, 16):
            placed = wanted._replace(offset_bytes=offset)
            if not any(overlap(placed, other) for other in done.values()):
                done[index] = placed
                break
    return tuple(done[index] for index in range(len(buffers)))


def overlap(a: Buffer, b: Buffer) -> bool:
    in_time = not set(range(a.first, a.last + 1)).isdisjoint(range(b.first, b.last + 1))
    return in_time and a.offset_bytes < b.end_bytes and b.offset_bytes < a.end_bytes


@settings(max_examples=80)
@given(buffers=BUFFERS)
def test_the_planner_equals_the_slow_one(buffers: list[Buffer]) -> None:
    assert place_greedily(buffers) == slow_plan(buffers)


@settings(max_examples=80)
@given(buffers=BUFFERS)
def test_live_buffers_never_overlap_and_the_plan_holds_them(buffers: list[Buffer]) -> None:
    placed = place_greedily(buffers)
    for index, one in enumerate(placed):
        assert not any(overlap(one, other) for other in placed[index + 1 :])
    times = range(max(buffer.last for buffer in buffers) + 1)
    live = max(sum(b.size_bytes for b in buffers if b.first <= time <= b.last) for time in times)
    assert live <= max(buffer.end_bytes for buffer in placed) <= sum(buffer.size_bytes for buffer in buffers)


def test_equal_buffers_are_placed_from_the_last() -> None:
    # Both live at time 1, so one must lie behind the other: the later one gets offset 0.
    assert [b.offset_bytes for b in place_greedily([Buffer("a", 32, 0, 1), Buffer("b", 32, 1, 2)])] == [32, 0]
