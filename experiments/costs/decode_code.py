"""The code of TFLM's operator DECODE, compiled for a Cortex-M4: the figure ``CODE_BYTES`` of ``hw_models.decoding``.

    python -m experiments.costs.decode_code --tflite-micro CHECKOUT --flatbuffers CHECKOUT

CHECKOUT: tflite-micro at 90b983c2b3f1 and flatbuffers at v25.9.23, whose headers it includes. The compiler is clang, as
the package `ziglang` brings it (`pip install -e ".[verify]"`). All five files are linked whichever kind of decoding a
file uses. Code and constants are counted, tables for unwinding are not.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hw_models.decoding import CODE_BYTES
from mobo.export.firmware.elf import constant_bytes
from mobo.export.firmware.toolchain import run

KERNELS = Path("tensorflow/lite/micro/kernels")
FILES = ("decode", "decode_state", "decode_state_huffman", "decode_state_lut", "decode_state_prune")
FLAGS = (
    "-target", "thumb-linux-musleabi", "-mcpu=cortex_m4", "-O2", "-std=c++17", "-fno-exceptions", "-fno-rtti",
    "-ffunction-sections", "-fdata-sections", "-fno-sanitize=all", "-DTF_LITE_STATIC_MEMORY",
    "-DFLATBUFFERS_LOCALE_INDEPENDENT=0", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables",
)  # fmt: skip


def code_bytes(tflite_micro: Path, flatbuffers: Path) -> dict[str, int]:
    """Return the bytes of code and constants of each file.

    Raises:
        ExportError: A file cannot be compiled.
    """
    includes = (f"-I{tflite_micro.resolve()}", f"-I{flatbuffers.resolve() / 'include'}")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            out, source = Path(folder) / f"{name}.o", tflite_micro.resolve() / KERNELS / f"{name}.cc"
            run([sys.executable, "-m", "ziglang", "c++", *FLAGS, *includes, "-c", str(source), "-o", str(out)])
            found[name] = constant_bytes(out.read_bytes())
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflite-micro", type=Path, required=True)
    parser.add_argument("--flatbuffers", type=Path, required=True)
    given = parser.parse_args(arguments)
    found = code_bytes(given.tflite_micro, given.flatbuffers)
    for name, size in found.items():
        print(f"{name}.cc: {size:,} bytes")
    print(f"together {sum(found.values()):,} bytes; hw_models.decoding has {CODE_BYTES:,}")


if __name__ == "__main__":
    main()
