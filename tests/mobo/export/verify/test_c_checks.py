"""The C project of a trial on an emulated core: bit for bit, and at the cost that was predicted."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from hw_models.device import load_device
from mobo.export.exported_model import read_export
from mobo.export.firmware.toolchain import Compiler
from mobo.export.trial_export import export_trial
from mobo.export.verify import c_checks
from mobo.export.verify.c_checks import check_emulated
from mobo.runs.record import read_run
from tests.mobo.export.exportable_run import SCORED, make_exportable_run


@pytest.mark.skipif(find_spec("unicorn") is None, reason="no emulator: pip install unicorn")
def test_an_exported_trial_costs_what_was_predicted(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_checks, "EMULATED_CORES", ("cortex-m4",))
    run = make_exportable_run(tmp_path / "run")
    export_trial(read_run(run.path), SCORED, ["c"], tmp_path / "out")
    rows = {row.quantity: row for row in check_emulated(read_export(tmp_path / "out"), load_device("nucleo-l4r5zi"))}
    assert rows["samples whose output differs, cortex-m4"].holds
    arena = rows["arena_bytes, cortex-m4"]
    assert arena.holds
    assert arena.predicted == arena.measured
    assert rows["ram_bytes, cortex-m4"].holds
    # Code and instructions are promised for the compiler that mobo-c was fitted on alone.
    promised = None if compiler.is_zig else True
    for quantity in ("flash_bytes, cortex-m4", "instructions, cortex-m4"):
        assert rows[quantity].holds is promised, rows[quantity]
    assert rows["flash_bytes"].holds  # of the board
    assert rows["stack_bytes, cortex-m4"].holds is None
