"""The names of what networks are judged by; a config is read with them, so nothing heavy is imported here."""

from typing import Literal, get_args

ShareKind = Literal["share", "balanced", "macro_f1"]
"""Of classes: the share of wrong samples, or 1 minus a mean over the classes: of recall, of F1."""

DistanceKind = Literal["mae", "rmse"]
"""Of labels that are real numbers: mean absolute error, root mean square error."""

ErrorKind = ShareKind | DistanceKind

DISTANCES: tuple[DistanceKind, ...] = get_args(DistanceKind)
