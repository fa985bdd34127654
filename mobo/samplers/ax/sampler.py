"""Bayesian optimisation by Ax: Gaussian processes and expected hypervolume improvement, after a Sobol start."""

from typing import ClassVar

from mobo.base.seeds import derive_seed
from mobo.samplers.ax.settings import AxSettings
from mobo.samplers.sobol_start import SobolStartSampler
from mobo.space.search_space import Design


class AxSampler(SobolStartSampler[AxSettings]):
    """Proposes what Ax expects to enlarge the hypervolume most.

    The first trials come from our own Sobol sequence. After that every suggestion comes from a fresh Ax client that is
    told every finished trial, so that it depends on nothing else. A trial beyond an objective's reference is worth
    nothing; constraints are modelled apart from the objectives, also where both speak of one outcome.
    """

    description: ClassVar[str] = "Bayesian optimisation by Ax (qLogNEHVI) after a Sobol start"
    Settings: ClassVar[type[AxSettings]] = AxSettings

    def propose(self, count: int) -> list[Design]:
        """Return what a fresh Ax client proposes that is told every trial."""
        from mobo.samplers.ax.client import ax_designs

        return ax_designs(
            self.space,
            self.objectives,
            self.constraints,
            self.history.trials,
            count=count,
            seed=derive_seed(self.seed, len(self.history), "ax"),
            settings=self.settings,
        )
