"""Boards: known figures, and every way a board file can be wrong."""

from pathlib import Path

import pytest

from hw_models.device import DeviceError, load_device, load_devices

BOARD = """
[my-board]
board = "My Board"
mcu = "STM32X"
core = "cortex-m4"
clock_mhz = 100
flash_kib = 512
sram_kib = 128
fpu = "single"
source = "data sheet, page 1"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "boards.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_known_board() -> None:
    device = load_device("nucleo-l4r5zi")
    assert (device.core, device.clock_mhz) == ("cortex-m4", 120)
    assert (device.flash_bytes, device.sram_bytes, device.arena_bytes) == (2048 * 1024, 640 * 1024, 640 * 1024)
    # Medians of the published runs: 35 to 49 mW at 1.8 V, 70 to 78 mW at 3.0 V.
    assert (device.inference_power_mw, device.power_supply_v) == (43.4, 1.8)
    assert {power.supply_v: power.power_mw for power in device.powers} == {1.8: 43.4, 3.0: 74.9, None: 51.9}


def test_split_sram_limits_the_arena() -> None:
    device = load_device("nucleo-h743zi2")
    assert (device.sram_bytes, device.arena_bytes) == (1024 * 1024, 512 * 1024)


def test_power_only_where_it_was_measured() -> None:
    powered = {name for name, device in load_devices().items() if device.inference_power_mw is not None}
    assert powered == {"nucleo-f446re", "nucleo-f746zg", "nucleo-h7a3zi-q", "nucleo-l4r5zi", "nucleo-u575zi-q"}
    assert len(load_devices()) == 33


def test_own_boards_are_read_beside_the_built_in_ones(tmp_path: Path) -> None:
    path = write(tmp_path, BOARD)
    assert load_device("my-board", path).arena_bytes == 128 * 1024
    assert set(load_devices(path)) == {*load_devices(), "my-board"}
    replaced = write(tmp_path, BOARD.replace("[my-board]", "[nucleo-l4r5zi]"))
    assert load_device("nucleo-l4r5zi", replaced).board == "My Board"
    assert load_device("nucleo-l4r5zi").board == "NUCLEO-L4R5ZI"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sram_kib = 128\n", "", "board 'my-board': key 'sram_kib' is missing"),
        ("source =", "sorce =", "board 'my-board': unknown key 'sorce'; did you mean 'source'|key 'source' is missing"),
        ('fpu = "single"', 'fpu = "single"\nflash = 3', "unknown key 'flash'; did you mean 'flash_kib'"),
        ("cortex-m4", "cortex-m99", "board 'my-board': .*'core' = 'cortex-m99'"),
        ("clock_mhz = 100", 'clock_mhz = "100"', "'clock_mhz' = '100'"),
        ("clock_mhz = 100", "clock_mhz = 0", "'clock_mhz' = 0"),
        ("sram_kib = 128", "sram_kib = 128\narena_kib = 256", "arena_kib 256.* is larger than sram_kib 128"),
        ("sram_kib = 128", "sram_kib = 128\ninference_power_mw = 40.0", "unknown key 'inference_power_mw'"),
        (
            "sram_kib = 128",
            "sram_kib = 128\npowers = [{ power_mw = 4.0, log_std = 0.1 }]",
            "'powers.0.source' is missing",
        ),
        ("sram_kib = 128", "sram_kib = 128\npowers = [{ power = 4.0 }]", "'powers.0.power"),
        ("[my-board]", "[My_Board]", "must be lower case"),
        ("[my-board]", 'name = "x"\n[my-board]', "'name' is not a table"),
        ("[my-board]", '[my-board]\nname = "x"', "leave the key out"),
        ("[my-board]", "[my-board", "cannot be read"),
    ],
)
def test_a_bad_board_file_names_board_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in BOARD
    with pytest.raises(DeviceError, match=message):
        load_devices(write(tmp_path, BOARD.replace(old, new)))


def test_a_missing_board_file(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="cannot be read"):
        load_devices(tmp_path / "none.toml")


def test_everything_that_is_wrong_with_boards_is_said_at_once(tmp_path: Path) -> None:
    first = BOARD.replace("sram_kib = 128\n", "").replace("clock_mhz = 100", "clock_mhz = 0")
    second = BOARD.replace("[my-board]", "[other]").replace('core = "cortex-m4"\n', "")
    with pytest.raises(DeviceError) as refused:
        load_devices(write(tmp_path, first + second))
    first_line, second_line = str(refused.value).splitlines()
    assert "'clock_mhz' = 0" in first_line
    assert "key 'sram_kib' is missing" in first_line
    assert "board 'other': key 'core' is missing" in second_line


def test_a_file_may_be_named_by_a_text(tmp_path: Path) -> None:
    assert load_device("my-board", str(write(tmp_path, BOARD))).name == "my-board"
