"""The calibration table: what its rows mean, and every way a user's table can be wrong."""

from pathlib import Path

import pytest

from hw_models.calibration.tables import (
    FOLDER,
    LATENCY_COLUMNS,
    CalibrationError,
    is_layer_table,
    read_latencies,
    read_layers,
    read_networks,
    read_rows,
    shipped_measurements,
    shipped_networks,
)

HEADER = ",".join(LATENCY_COLUMNS)
GOOD = "a,DS-CNN,kws_ref_model,,,tflm+cmsis-nn,cortex-m4,MINE,64,190,12,3.0,own"


def write(folder: Path, *lines: str) -> Path:
    path = folder / "mine.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_every_shipped_row_has_a_source_and_a_network() -> None:
    rows = shipped_measurements()
    assert len({row.name for row in rows}) == len(rows)
    assert sum(row.network is not None for row in rows) > 100
    for name, kind in (("latency.csv", "latency"), ("layers.csv", "layers")):
        assert all(len(row["source"]) > 5 for row in read_rows(FOLDER / name, kind))


def test_the_macs_of_known_networks() -> None:
    # MLPerf Tiny: figures printed with the models.
    for name, macs in (("ad01_int8", 264_192), ("kws_ref_model", 2_656_768), ("pretrainedResnet_quant", 12_501_632)):
        assert sum(call.macs for call in shipped_networks()[name].calls()) == macs


def test_a_good_table_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER, GOOD)
    (row,) = read_latencies(path, shipped_networks())
    assert (row.cycles, row.network, row.board, row.supply_v) == (190 * 64_000, "kws_ref_model", "MINE", 3.0)
    assert not is_layer_table(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((HEADER,), "has no rows"),
        ((HEADER.replace("latency_ms", "latency"), GOOD), "has no column 'latency_ms'"),
        ((HEADER, GOOD.replace("190", "fast")), "row 1: latency_ms is 'fast'; it must be a number"),
        ((HEADER, GOOD.replace("190", "-1")), "row 1: latency_ms is -1.0; it must be positive"),
        ((HEADER, GOOD.replace("190", "nan")), "latency_ms is nan"),
        ((HEADER, GOOD.replace("kws_ref_model", "mine")), "no layer list for the network 'mine'"),
        (
            (HEADER, GOOD.replace("190", "1e300")),
            r"latency_ms is 1e\+300; it must be positive and finite, below 1e\+15",
        ),
        ((HEADER, GOOD.replace(",12,", ",much,")), "power_mw is 'much'; it must be a number"),
        ((HEADER, GOOD.replace(",3.0,", ",inf,")), "supply_v is inf"),
        ((HEADER, GOOD.rpartition(",")[0]), "row 1 has not as many cells as the head"),
        ((HEADER + ",id", GOOD + ",b"), "has two columns 'id'"),
    ],
)
def test_a_bad_table(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        read_latencies(write(tmp_path, *lines), shipped_networks())


LAYER = "mine,a,CONV_2D,1x8x8x3,1x8x8x4,3x3,1x1,0"


@pytest.mark.parametrize(
    "line",
    [
        LAYER.replace("1x1,0", "1x1,few"),
        LAYER.replace("CONV_2D", "LSTM"),
        LAYER.replace("CONV_2D", "MEAN").replace("1x8x8x4", "1x0x0x3"),
    ],
)
def test_a_bad_list_of_layers(tmp_path: Path, line: str) -> None:
    head = "model_key,architecture,op,input_shape,output_shape,kernel,stride,zero_filters"
    networks = read_networks(write(tmp_path, head, line))
    with pytest.raises(CalibrationError, match=r"row 1: the layers of 'mine' cannot be read"):
        read_latencies(write(tmp_path, HEADER, GOOD.replace("kws_ref_model", "mine")), networks)


def test_a_missing_file_and_an_unknown_operator(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_latencies(tmp_path / "none.csv", {})
    path = write(
        tmp_path,
        "id,op,input_shape,output_shape,kernel,stride,runtime,core,board,clock_mhz,cycles,source",
        "a,LSTM,1x8,1x8,,,tflm+cmsis-nn,cortex-m4,MINE,64,100,own",
    )
    assert is_layer_table(path)
    with pytest.raises(CalibrationError, match="operator 'LSTM' of a layer list has no kernel"):
        read_layers(path)


LAYER_HEAD = "id,op,input_shape,output_shape,kernel,stride,runtime,core,board,clock_mhz,cycles,source"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("CONV_2D,,8x8x8,3x3,1x1", "input_shape of the CONV_2D is ''; write its sizes, e.g. 32x32x3"),
        ("CONV_2D,8x8x4,big,3x3,1x1", "output_shape of the CONV_2D is 'big'"),
        ("CONV_2D,8x8x4,8x8x8,,1x1", "kernel of the CONV_2D is ''; write its sizes, e.g. 3x3"),
        ("DEPTHWISE_CONV_2D,8x8x4,8x8x4,3x3,", "stride of the DEPTHWISE_CONV_2D is ''"),
        ("FULLY_CONNECTED,,8,,", "input_shape of the FULLY_CONNECTED is ''"),
        ("ADD,,,,", "output_shape of the ADD is ''"),
        ("MEAN,,8,,", "input_shape of the MEAN is ''"),
    ],
)
def test_a_layer_without_its_size_is_refused(sizes: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, LAYER_HEAD, f"a,{sizes},tflm+cmsis-nn,cortex-m4,MINE,64,90000,own")
    with pytest.raises(CalibrationError, match=f"row 1: {message}"):
        read_layers(path)


@pytest.mark.parametrize("operator", ["MAXIMUM", "MINIMUM", "DIV", "TANH", "HARD_SWISH", "SPLIT", "SLICE"])
def test_operators_of_layer_lists_that_have_a_kernel(operator: str, tmp_path: Path) -> None:
    path = write(tmp_path, LAYER_HEAD, f"a,{operator},8x8x4,8x8x4,,,tflm+cmsis-nn,cortex-m4,MINE,64,90000,own")
    (row,) = read_layers(path)
    assert row.calls[0].terms["elements"] == 256


def test_the_widths_of_a_layer_count(tmp_path: Path) -> None:
    head = "id,op,input_shape,output_shape,kernel,stride,runtime,core,board,clock_mhz,cycles,source"
    row = "a,CONV_2D,8x8x4,8x8x8,3x3,1x1,tflm+cmsis-nn,cortex-m4,MINE,64,90000,own"
    path = write(tmp_path, f"{head},weight_bits,activation_bits", f"{row},4,", f"{row},,16", f"{row},8,8")
    assert [measured.calls[0].width for measured in read_layers(path)] == ["w4", "w8a16", "w8"]
    with pytest.raises(CalibrationError, match="row 1: weight_bits is '5'; allowed is 8 or 4"):
        read_layers(write(tmp_path, f"{head},weight_bits", f"{row},5"))
