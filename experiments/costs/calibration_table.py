"""Derive the calibration table: ``python -m experiments.costs.calibration_table --measurements DIR [--models DIR]``.

Reads the full measurement tables and writes the columns that the fit needs to ``hw_models/calibration/*.csv``: figures
and their sources only. ``--models`` is a folder with the tflite files of some of the networks; where one is at hand,
the output channels whose weights are all zero are counted in it. Some engines drop them (see ``hw_models/README.md``).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from hw_models.calibration.float_kernels import FLOAT_FAMILY
from hw_models.calibration.tables import (
    FOLDER,
    INSTRUCTION_COLUMNS,
    LATENCY_COLUMNS,
    LAYER_COLUMNS,
    NETWORK_COLUMNS,
)
from hw_models.graph.flatbuffer import root
from hw_models.graph.tflite_tables import parse

UNSTATED_CLOCK_MHZ = 480.0  # the TinyEngine tables name no clock; the highest of the STM32H743 is assumed
ARCHITECTURES = {
    "pretrainedResnet_quant": "resnet8",
    "resnet_v1_8": "resnet8",
    "ad01_int8": "autoencoder",
    "kws_ref_model": "ds-cnn",
    "vww_96_int8": "mobilenet-v1-0.25-96",
    "_mobilenet_v1_0.25_96": "mobilenet-v1-0.25-96",
    "_mobilenet_v1_0.25_224": "mobilenet-v1-0.25-224",
    "_mobilenet_v1_0.5_224": "mobilenet-v1-0.5-224",
    "fdmobilenet_0.25_224": "fd-mobilenet-0.25-224",
    "fdmobilenet_0.25_128": "fd-mobilenet-0.25-128",
    "mnist": "st-mnist",
    "miniresnet_1": "miniresnet-1",
    "miniresnet_2": "miniresnet-2",
    "yamnet": "yamnet-256",
    "ssd_mobilenet": "ssd-mobilenet-v1-0.25-192",
    "gmp_wl_24": "gmp-24",
    "gmp_wl_48": "gmp-48",
}
# Networks without a published layer list: costed as a scaled copy of a similar one, with a free factor of their own.
# They tell how engines and boards compare on one network, nothing more.
PROXIES = {
    "mcunet-in1": "tinyengine__mcunet-vww1",
    "mcunet-in2": "tinyengine__mcunet-vww1",
    "mcunet-vww0": "tinyengine__mcunet-vww1",
    "mbv2-w0.3-r64": "tinyengine__mcunet-vww1",
    "MBNETV2-S": "tinyengine__mcunet-vww1",
    "DSCNN-S": "kws_ref_model",
    "DSCNN-M": "kws_ref_model",
}


def main() -> None:
    """Write the five tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=Path, required=True, help="folder with the full tables")
    parser.add_argument("--models", type=Path, help="folder with tflite files, named by model key")
    arguments = parser.parse_args()
    folder: Path = arguments.measurements
    measured = pd.read_csv(folder / "cortex_m_measurements.csv")
    latency, in_float = _latency(measured, "int8"), _latency(measured, "float32")
    in_float = in_float[in_float["runtime"] == FLOAT_FAMILY.release]
    in_float.to_csv(FOLDER / "latency_float.csv", index=False, columns=list(LATENCY_COLUMNS))
    latency.to_csv(FOLDER / "latency.csv", index=False, columns=list(LATENCY_COLUMNS))
    used = set(latency["model_key"].dropna()) | set(in_float["model_key"]) | set(PROXIES.values())
    networks = _networks(pd.read_csv(folder / "model_layers.csv"), used, arguments.models)
    networks.to_csv(FOLDER / "networks.csv", index=False, columns=list(NETWORK_COLUMNS))
    layers = pd.read_csv(folder / "cortex_m_layers.csv")
    layers.to_csv(FOLDER / "layers.csv", index=False, columns=list(LAYER_COLUMNS))
    counts = pd.read_csv(folder / "qemu_cmsis_nn_instructions.csv")
    counts = counts[counts["flags"].str.contains("-O3")]
    counts.to_csv(FOLDER / "instructions.csv", index=False, columns=list(INSTRUCTION_COLUMNS))
    print(f"{len(latency)} latencies and {len(in_float)} of float networks, ")
    print(f"{len(networks)} layers of {networks['model_key'].nunique()} networks, ")
    print(f"{len(layers)} measured layers, {len(counts)} instruction counts")


def _latency(table: pd.DataFrame, dtype: str) -> pd.DataFrame:
    kept = table[table["latency_ms"].notna() & (table["dtype"] == dtype)].copy()
    kept["proxy"] = [PROXIES.get(name) for name in kept["model"]]
    kept = kept[kept["model_key"].notna() | kept["proxy"].notna()]
    kept["clock_mhz"] = kept["clock_mhz"].fillna(UNSTATED_CLOCK_MHZ)
    return kept


def _networks(table: pd.DataFrame, used: set[str], models: Path | None) -> pd.DataFrame:
    kept = table[table["model_key"].isin(used)].copy()
    kept["architecture"] = [_architecture(key) for key in kept["model_key"]]
    kept["zero_filters"] = 0
    for path in sorted(models.glob("*.tflite")) if models is not None else ():
        rows = kept.index[(kept["model_key"] == path.stem) & (kept["op"] == "CONV_2D")]
        if len(rows):
            kept.loc[rows, "zero_filters"] = _zero_filters(path)
    return kept


def _architecture(key: str) -> str:
    return next((name for part, name in ARCHITECTURES.items() if part in key), key)


def _zero_filters(path: Path) -> list[int]:
    """Return per convolution, in order, how many output channels have only zero weights."""
    data = path.read_bytes()
    file = parse(data)
    buffers = root(data).vector(4, 4, at_most=1 << 16).tables()
    counts = []
    for operator in file.operators:
        if operator.code == "CONV_2D":
            tensor = file.tensors[operator.inputs[1]]
            stored = buffers[tensor.buffer].vector(0, 1, at_most=len(data))
            weights = np.frombuffer(data, np.int8, stored.length, stored.start).reshape(tensor.shape[0], -1)
            counts.append(int((~weights.any(axis=1)).sum()) if tensor.dtype == "int8" else 0)
    return counts


if __name__ == "__main__":
    main()
