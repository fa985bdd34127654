"""When a training ends early: a rule that is made before it begins, and the numbers that its rungs are held against.

A training is worth its end only if a compression of its network can add enough to the front. That is decided at
*rungs*, shares of its epochs, from the error of the network as it is there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True, kw_only=True)
class CurveLine:
    """How the error at the end of a training follows from that at one rung: a line between logarithms.

    Attributes:
        intercept: Of the logarithm of the last error.
        slope: What it grows by with the logarithm of the error at the rung.
        deviation: Standard deviation of a new training's last error around the line, in logarithms.
        allowed: The most that the training may put into the logarithm of a child's error to be worth its end, from
            this rung on.
    """

    intercept: float
    slope: float
    deviation: float
    allowed: float

    def log_error(self, error: float, smallest: float) -> float:
        """Return the logarithm of the expected last error; ``smallest`` stands for errors below it."""
        return self.intercept + self.slope * math.log(max(error, smallest))


@dataclass(frozen=True, kw_only=True)
class StoppingRule:
    """What one training is held against; plain numbers, made from the trials that its suggestion saw.

    The logarithm of a child's error is expected to be that of the trained network times ``carried``, and what its
    compression adds.

    Attributes:
        lines: By rung, a share of the epochs.
        carried: How much of the logarithm of the trained network's error its children keep.
        deviation: How far a child's error is uncertain beside the training's, in logarithms.
        own_loss: What the design's own compression adds to the sum.
        smallest_error: Errors below it count as it; half a sample.
        chance: A training is stopped where the chance that its end is worth its price is below it.
    """

    lines: Mapping[float, CurveLine]
    carried: float
    deviation: float
    own_loss: float
    smallest_error: float
    chance: float

    def expected_error(self, rung: float, error: float) -> float:
        """Return the error that the design is expected to end with, compressed, from that at a rung."""
        return math.exp(self.carried * self.lines[rung].log_error(error, self.smallest_error) + self.own_loss)

    def chance_at(self, rung: float, error: float) -> float:
        """Return how likely the end of the training is worth its price, from the error at a rung."""
        line = self.lines[rung]
        lead = line.allowed - self.carried * line.log_error(error, self.smallest_error)
        return NormalDist().cdf(lead / math.hypot(self.carried * line.deviation, self.deviation))

    def stops(self, rung: float, error: float) -> bool:
        """Return whether a training with this error at a rung shall end there; never where nothing is known of it."""
        return rung in self.lines and self.chance_at(rung, error) < self.chance
