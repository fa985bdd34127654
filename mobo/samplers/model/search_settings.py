"""How hard an acquisition function is searched, apart from the search so that reading it does not import torch."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

_FEWEST_POINTS, _FEWEST_MOVES = 128, 16


class SearchSettings(BaseModel):
    """How hard to look for the maximum.

    Attributes:
        pool: Points looked at first, half of them spread over the space, half near the centres.
        whole: A space of at most so many designs is looked at as a whole instead.
        starts: Best points that are improved further.
        moves: Local moves tried from each start.
        rounds: How often that is done, each time from the best so far, where the score has no gradient.
        polish_iterations: Steps of L-BFGS-B along the real-valued axes; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: Annotated[int, Field(ge=2)] = 1024
    whole: Annotated[int, Field(ge=0)] = 4096
    starts: Annotated[int, Field(ge=1)] = 4
    moves: Annotated[int, Field(ge=0)] = 64
    rounds: Annotated[int, Field(ge=1)] = 4
    polish_iterations: Annotated[int, Field(ge=0)] = 30

    def scaled(self, effort: float) -> Self:
        """Return the settings with fewer points and moves, but no fewer than a search can do with.

        Args:
            effort: The share of the points that is looked at, up to 1.
        """
        return self.model_copy(
            update={
                "pool": min(self.pool, max(_FEWEST_POINTS, round(effort * self.pool))),
                "moves": min(self.moves, max(_FEWEST_MOVES, round(effort * self.moves))),
            }
        )
