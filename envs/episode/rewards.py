"""Rewards at the end of an episode.

References:
    [HAQ] Wang et al., "HAQ: Hardware-Aware Automated Quantization with Mixed Precision", CVPR 2019.
"""

# [HAQ] pays 0.1 per percentage point of accuracy, which is 10 per unit of error.
REWARD_PER_ERROR = 10.0
# No feasible reward is below -REWARD_PER_ERROR, since errors and baselines lie in [0, 1].
INFEASIBLE_REWARD = -REWARD_PER_ERROR - 1.0


def accuracy_reward(error: float, baseline_error: float) -> float:
    """Return ``10 * (baseline_error - error)``: what compression gained (or, mostly, lost) on the reward split [HAQ].

    Args:
        error: Error of the compressed network on the reward split, in [0, 1].
        baseline_error: Error of the uncompressed network on the same split, in [0, 1].

    >>> round(accuracy_reward(error=0.08, baseline_error=0.05), 6)
    -0.3
    """
    return REWARD_PER_ERROR * (baseline_error - error)


def infeasible_reward(violation: float) -> float:
    """Return the reward of an episode that ended outside its targets: below every feasible one, lower the further out.

    Args:
        violation: Summed relative excess over the limits, above 0; counted up to 1.

    >>> infeasible_reward(0.25), infeasible_reward(7.0)
    (-11.25, -12.0)
    """
    return INFEASIBLE_REWARD - min(violation, 1.0)
