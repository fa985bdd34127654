"""What an earlier study found, told in the designs of the present one."""

from dataclasses import dataclass

from mobo.space.search_space import Design
from mobo.space.trial import Trial


@dataclass(frozen=True)
class EarlierStudy:
    """Finished trials of a study with the same hyperparameters, or some of them, for another board or other data.

    Attributes:
        name: For people.
        trials: Those that are done; their designs are designs of the present study, each once.
        front: The designs of its front, in the order of the first objective.
    """

    name: str
    trials: tuple[Trial, ...]
    front: tuple[Design, ...] = ()
