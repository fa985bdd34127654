"""The least memory any order of the operators needs: a lower bound no planner and no schedule can beat.

A tensor lives from the operator that makes it to the last one that reads it. Which tensors live when an operator runs
depends only on which operators ran before, so the best order follows from a search over sets of operators that ran,
each set visited once. (E. Liberis and N. D. Lane, arXiv 1910.05110; the same search is uNAS's resource model.)
"""

from hw_models.graph.layer_graph import LayerGraph
from hw_models.memory.arena_plan import NO_EDGES, UnknownMemoryError

_MOST_STATES = 50_000


class TooManyOrdersError(UnknownMemoryError):
    """A graph with too many ways to run it for an exact answer."""


def minimum_live_bytes(graph: LayerGraph) -> int:
    """Return the largest sum of live tensors at any moment, in the best order of the operators.

    Scratch buffers, alignment and fragmentation come on top; the arena of no plan is smaller.

    Raises:
        TooManyOrdersError: More than 50,000 different sets of operators would have to be looked at.
        UnknownMemoryError: The edges of the graph are unknown.
    """
    if not graph.edges_known:
        raise UnknownMemoryError(NO_EDGES)
    return _search(graph)


def _search(graph: LayerGraph) -> int:
    position = {layer.name: index for index, layer in enumerate(graph.layers)}
    sizes = {name: graph.tensor_bytes(name) for name in graph.shapes}
    kept = set(graph.outputs)
    reads = [tuple({*layer.inputs}) for layer in graph.layers]
    needs = [sum(1 << position[name] for name in names if name in position) for names in reads]
    readers = {name: sum(1 << position[reader] for reader in {*graph.consumers[name]}) for name in graph.shapes}
    everything = (1 << len(graph.layers)) - 1

    def live_bytes(done: int, running: int) -> int:
        """Return what lives while one operator runs after the done ones."""
        total = sizes[graph.layers[running].name]
        for name in graph.shapes:
            made = name not in position or done >> position[name] & 1
            if made and (name in kept or readers[name] & ~done):
                total += sizes[name]
        return total

    # Level by level: sets of the same number of operators -> the least peak that leads there.
    best = {0: 0}
    visited = 0
    for _ in graph.layers:
        following: dict[int, int] = {}
        for done, peak in best.items():
            for index, need in enumerate(needs):
                if not done >> index & 1 and need & ~done == 0:
                    after = done | 1 << index
                    candidate = max(peak, live_bytes(done, index))
                    if candidate < following.get(after, candidate + 1):
                        following[after] = candidate
            if visited + len(following) > _MOST_STATES:
                raise TooManyOrdersError(
                    f"the graph of {len(graph.layers)} layers can run in too many orders for an exact lower bound "
                    f"(more than {_MOST_STATES:,} different sets of layers that ran)"
                )
        visited += len(following)
        best = following
    return best[everything]
