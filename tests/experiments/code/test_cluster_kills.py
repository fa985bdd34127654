"""A short form of the kills on a cluster: each kind once."""

from pathlib import Path

import pytest
import typer

from experiments.code import cluster_kills

CONFIG = Path("experiments/searches/quickstart.toml")
# Long enough to be killed in.
QUICK = ["space.epochs=30", "space.finetune_steps=1000", "sampler.name=random"]


@pytest.mark.slow
@pytest.mark.timeout(1200)  # two minutes of a machine that has nothing else to do
def test_a_node_a_worker_and_the_search_are_killed_and_nothing_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    monkeypatch.setattr(cluster_kills, "TASKS", 8)
    monkeypatch.setattr(cluster_kills, "SLEEPING", 4)
    with pytest.raises(typer.Exit) as ended:
        cluster_kills.main(
            CONFIG, moments=1, trials=6, jobs=2, seed=0, out=tmp_path / "page.md", override=QUICK
        )  # fmt: skip
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert ended.value.exit_code == 0, text
    assert (
        "1 times the raylet of the node that is not the head was killed, 1 times a worker, 1 times the search" in text
    )
    assert "disturbed or not: **yes**" in text
