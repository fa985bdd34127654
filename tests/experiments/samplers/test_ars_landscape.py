"""The figure of the policies' paths: what is drawn lies where it was computed."""

import numpy as np
import pytest

from experiments.samplers import ars_landscape
from mobo.benchmark.problems.toy_landscape import SIDE, landscape
from mobo.samplers.ars_mobopt.settings import ArsSettings


def test_paths_begin_at_the_best_point_and_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ars_landscape, "STAGES", (6, 8))
    found = ars_landscape.stages(ArsSettings(initial_trials=5, iterations=2, horizon=3), seed=0)
    assert [len(stage.evaluated) for stage in found] == [6, 8]
    for stage in found:
        best = stage.evaluated[landscape(stage.evaluated).argmin()]
        for path in stage.paths:
            assert path.shape == (4, 2)
            np.testing.assert_allclose(path[0], best)
            assert ((path >= 0) & (path <= SIDE)).all()
    assert len(ars_landscape.figure_of(found).axes) == 2
