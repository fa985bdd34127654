"""An export whose C runs patch by patch: chosen by the RAM or forced, kept in the folder, verified as any other."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hw_models.device import Device, load_device
from hw_models.graph.layer_graph import Patches
from mobo.cli.app import app
from mobo.export.c.patching import AskedPatches, with_patches
from mobo.export.errors import ExportError
from mobo.export.exported_model import ExportedModel, read_export
from mobo.export.firmware.toolchain import Compiler
from mobo.export.trial_export import export_trial
from mobo.export.verify import c_checks
from mobo.export.verify.c_checks import check_emulated, check_host
from mobo.export.verify.download_checks import check_download
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from tests.mobo.export.exportable_run import BEATEN, make_exportable_run
from tests.mobo.export.quantised_networks import family

BOARD = load_device("nucleo-l4r5zi")
NETWORK = family("residual", bits=(8,))
"""Its arena takes 2,008 bytes, 1,464 in eight patches."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_exportable_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def exported(run: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    out = tmp_path_factory.mktemp("exported") / "out"
    formats = [word for name in ("c", "tflite", "download") for word in ("--format", name)]
    result = CliRunner().invoke(
        app, ["export", str(run.path), str(BEATEN), *formats, "--out", str(out), "--ram-kib", "1.7"]
    )
    assert result.exit_code == 0, result.output
    assert "note: the first 4 layers run in 4 patches of 2 rows of add: arena 1,688 bytes in the place of 2,008" in (
        result.stderr
    )
    # The figures of the run are those of its own network under its own engine.
    assert "cost model was changed" not in result.stderr
    return read_export(out)


def test_the_folder_holds_the_patches_and_what_is_sent_does_not(exported: ExportedModel) -> None:
    assert exported.network.graph.patches == Patches("add", 2)
    assert "for (i = 0; i < 4; ++i)" in exported.file("c/model.c").decode()
    assert "The first 4 layers run 4 times, each time for 2 rows of add" in exported.file("c/README.md").decode()
    assert all(row.holds for row in check_download(exported, BOARD))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_it_is_verified_on_this_machine(exported: ExportedModel) -> None:
    assert all(row.holds is not False for row in check_host(exported, BOARD))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")
def test_it_is_verified_on_an_emulated_core(
    exported: ExportedModel, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_checks, "EMULATED_CORES", ("cortex-m4",))
    rows = {row.quantity: row for row in check_emulated(exported, BOARD)}
    assert rows["samples whose output differs, cortex-m4"].holds
    assert rows["arena_bytes, cortex-m4"].holds
    assert rows["arena_bytes, cortex-m4"].measured == 1688
    # The code of the loop was sized with clang, whatever compiles here.
    assert rows["flash_bytes, cortex-m4"].holds is None
    instructions = rows["instructions, cortex-m4"]
    assert instructions.predicted == pytest.approx(instructions.measured, rel=0.1 if not compiler.is_zig else 0.25)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "tflite", "--patches", "2"], "patches are a matter of the C"),
        (
            ["--format", "firmware", "--engine", "tflm", "--board", "nucleo-f446re", "--patches", "2"],
            "without TFLM, firmware; give --format c too",
        ),
        (["--format", "c", "--patches", "many"], "--patches is 'many'; give auto, none or a number"),
        (["--format", "c", "--patches", "1"], "give auto, none or a number of patches, 2 or more"),
        (["--format", "c", "--patches", "7"], "7 patches do not lower the RAM"),
        (["--format", "c", "--ram-kib", "1"], "with patches 1,464 at least"),
        (["--format", "c", "--patches", "none", "--ram-kib", "1"], "leave --patches none out"),
    ],
)
def test_what_is_impossible_is_refused_and_nothing_is_written(
    run: RunDirectory, tmp_path: Path, options: list[str], words: str
) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["export", str(run.path), str(BEATEN), "--out", str(out), *options])
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert not out.exists()


def test_without_a_limit_the_ram_of_the_board_decides_and_no_patches_are_needed(
    run: RunDirectory, tmp_path: Path
) -> None:
    export = export_trial(read_run(run.path), BEATEN, ["c"], tmp_path / "out")
    assert export.model.network.graph.patches is None
    assert not any("patches" in note for note in export.notes)


def board(arena_kib: float, **changes: object) -> Device:
    found = BOARD.model_copy(update={"arena_kib": arena_kib, "sram_kib": arena_kib, **changes})
    assert found.arena_bytes == arena_kib * 1024
    return found


def test_auto_takes_the_fastest_that_fit_the_board() -> None:
    found, (note,) = with_patches(NETWORK, board(1.75), AskedPatches())
    assert found.graph.patches == Patches("add", 2)
    assert "arena 1,688 bytes in the place of 2,008" in note
    # A board with another core, whose kernels nobody counted, has the same RAM.
    assert with_patches(NETWORK, board(1.75, core="cortex-m55"), AskedPatches())[0].graph == found.graph
    # What stands before the network takes RAM of the board, too.
    tighter, _ = with_patches(NETWORK, board(1.75), AskedPatches(), beside_bytes=200)
    assert tighter.graph.patches == Patches("add", 1)


def test_a_board_that_is_too_small_gets_the_network_and_a_note() -> None:
    found, (note,) = with_patches(NETWORK, board(1), AskedPatches())
    assert found.graph == NETWORK.graph
    assert "does not fit the RAM of nucleo-l4r5zi" in note
    assert "with patches 1,464 at least" in note


def test_the_patches_of_a_trial_stay_where_they_fit_and_go_where_they_are_not_wanted() -> None:
    own = replace(NETWORK, graph=replace(NETWORK.graph, patches=Patches("add", 1)))
    assert with_patches(own, BOARD, AskedPatches())[0].graph == own.graph
    plain, notes = with_patches(own, BOARD, AskedPatches("none"))
    assert (plain.graph, notes) == (NETWORK.graph, ())
    assert with_patches(own, BOARD, AskedPatches("8"))[0].graph.patches == Patches("add", 1)
    with pytest.raises(ExportError, match="4 patches do not"):
        with_patches(own, BOARD, AskedPatches("4", 1500))
