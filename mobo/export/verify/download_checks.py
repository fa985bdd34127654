"""Checks of the coded network file: as long as the trial promised, and the same network when it is read back."""

from dataclasses import replace

from envs.compression.integer.network_file import network_to_bytes
from envs.compression.integer.weight_coding import decode_network
from hw_models.device import Device
from mobo.export.download.writer import NETWORK_FILE
from mobo.export.exported_model import ExportedModel
from mobo.export.verify.findings import Row, equal

_NOTE = "decoded and compared with network.npz: graph, scales, biases and weights, bit for bit"


def check_download(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Decode the file; it must be as long as the run recorded and hold the network that was exported."""
    del device
    data = model.file(f"download/{NETWORK_FILE}")
    promised = model.manifest.download_bytes
    sent = replace(model.network, graph=replace(model.network.graph, patches=None))
    differs = network_to_bytes(decode_network(data)) != network_to_bytes(sent)
    return (
        Row("download_bytes", promised, len(data), None if promised is None else promised == len(data)),
        equal("networks that differ", 0, int(differs), _NOTE),
    )
