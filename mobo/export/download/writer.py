"""The coded network file: what a device is sent, and what ``download_bytes`` is the length of."""

from types import MappingProxyType

from envs.compression.integer.weight_coding import encode_network
from mobo.export.request import ExportRequest, Files

NETWORK_FILE = "network.qnc"


def export_download(request: ExportRequest) -> Files:
    """Return the network coded in few bytes, without loss (see :mod:`envs.compression.integer.weight_coding`)."""
    return MappingProxyType({NETWORK_FILE: encode_network(request.network)})
