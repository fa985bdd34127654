"""The compilers a C project can be built with on this machine, and the commands that build it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from mobo.export.errors import ExportError, MissingToolError

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-pedantic")
# A compiler of this name is taken for Cortex-M, in place of the preferred one.
ARM_COMPILER_VARIABLE = "MOBO_ARM_COMPILER"
_HOST_COMPILERS = ("cc", "gcc", "clang")
_ARM_GCC = "arm-none-eabi-gcc"
_INSTALL_HOST = "apt-get install gcc"
_INSTALL_ARM = 'apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi, or pip install "tinyml-mobo-rl[verify]"'
_SECONDS = 300
_INCLUDED = re.compile(r'^#include "([^"]+)"', re.MULTILINE)

# The package from pip brings no C library for bare metal; its compiler brings the functions themselves.
BARE_STRING_H = """\
#include <stddef.h>
void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memset(void *to, int value, size_t count);
"""

# Core -> what GCC takes for granted on it and clang does not.
_CLANG_EXTENSIONS: Mapping[str, str] = MappingProxyType({"cortex-m33": "+dsp"})
# Core -> what tells GCC its floating-point unit.
_FLOATING_POINT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "cortex-m4": ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
        "cortex-m7": ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
        "cortex-m33": ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
        "cortex-m55": ("-mfloat-abi=hard",),
    }
)


@dataclass(frozen=True)
class Compiler:
    """A compiler.

    Attributes:
        command: How it is called.
        is_zig: Whether it is the one from the ziglang package.
    """

    command: tuple[str, ...]
    is_zig: bool = False

    def bare_metal_flags(self, core: str) -> tuple[str, ...]:
        """Return what makes it compile and link for a core without an operating system."""
        if self.is_zig:
            cpu = core.replace("-", "_") + _CLANG_EXTENSIONS.get(core, "")
            target = ("-target", "thumb-freestanding-eabi", f"-mcpu={cpu}", "-nostartfiles")
            return (*target, "-Wno-unused-command-line-argument")
        return ("-mthumb", f"-mcpu={core}", *_FLOATING_POINT.get(core, ()), "-nostartfiles", "--specs=nosys.specs")

    @property
    def name(self) -> str:
        """Name and version, the first line it prints."""
        return run([*self.command, "--version"]).splitlines()[0]


def host_compiler() -> Compiler:
    """Return this machine's C compiler.

    Raises:
        MissingToolError: There is none.
    """
    for name in (os.environ.get("CC", ""), *_HOST_COMPILERS):
        if name and shutil.which(name):
            return Compiler((name,))
    if (zig := _zig()) is not None:
        return zig
    raise MissingToolError("a C compiler (cc, gcc or clang)", install=_INSTALL_HOST)


def arm_compilers() -> dict[str, Compiler]:
    """Return every compiler for bare-metal Cortex-M on this machine, by the name it is asked for, preferred first."""
    found = {"gcc": Compiler((_ARM_GCC,)) if shutil.which(_ARM_GCC) else None, "ziglang": _zig()}
    return {name: compiler for name, compiler in found.items() if compiler is not None}


def arm_compiler() -> Compiler:
    """Return a compiler for bare-metal Cortex-M: the one that ``MOBO_ARM_COMPILER`` names, else the preferred one.

    Raises:
        ExportError: The one that is asked for is not here.
        MissingToolError: There is none.
    """
    found, asked = arm_compilers(), os.environ.get(ARM_COMPILER_VARIABLE)
    if not found:
        raise MissingToolError("a compiler for Cortex-M", install=_INSTALL_ARM)
    if asked is None:
        return next(iter(found.values()))
    if asked not in found:
        raise ExportError(
            f"{ARM_COMPILER_VARIABLE} asks for '{asked}'; on this machine are: {', '.join(found)}. "
            f"Name one of them, unset the variable, or install another: {_INSTALL_ARM}"
        )
    return found[asked]


def _zig() -> Compiler | None:
    """Return the compiler of the ziglang package, if it is installed."""
    is_here = find_spec("ziglang") is not None
    return Compiler((sys.executable, "-m", "ziglang", "cc"), is_zig=True) if is_here else None


def run(command: Sequence[str], *, folder: Path | None = None, stdin: bytes = b"") -> str:
    """Run a command and return what it printed; see :func:`run_for_bytes`."""
    return run_for_bytes(command, folder=folder, stdin=stdin).decode(errors="replace")


def run_for_bytes(command: Sequence[str], *, folder: Path | None = None, stdin: bytes = b"") -> bytes:
    """Run a command and return the bytes it wrote.

    Raises:
        ExportError: It fails or takes too long; the message ends with the last of what it said.
    """
    try:
        done = subprocess.run(command, cwd=folder, input=stdin, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{command[0]} did not end within {_SECONDS} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-2000:]
        raise ExportError(f"{' '.join(command[:4])} … failed with code {done.returncode}:\n{said}")
    return done.stdout


def sources(project: Path) -> list[str]:
    """Return the C files of a project that belong to the model, relative to its folder.

    Raises:
        ExportError: The folder holds no C project.
    """
    if not (project / "model.c").is_file():
        raise ExportError(f"{project} holds no model.c; export the model with --format c")
    kernels = sorted(path.relative_to(project).as_posix() for path in (project / "kernels").glob("*.c"))
    return ["model.c", "model_quantise_input.c", *kernels]


def compiled(project: Path, source: str, command: Sequence[str], headers: Sequence[str], objects: Path) -> Path:
    """Return the compiled file of a source, made unless one of the same text and command is there.

    Args:
        project: The project's folder.
        source: The source in it.
        command: How the compiler is called.
        headers: Where else it finds headers: a folder of this call alone, so no part of what a file is found by.
        objects: The folder of compiled files.

    Raises:
        ExportError: It does not compile.
    """
    digest = sha256("\0".join([*command, *_texts(project, Path(source))]).encode()).hexdigest()[:32]
    target = objects / f"{digest}.o"
    if not target.is_file():
        part = target.with_suffix(".part")
        run([*command, *headers, "-c", "-o", str(part), source], folder=project)
        part.rename(target)
    return target


def _texts(project: Path, source: Path) -> Iterator[str]:
    """Yield the text of a source and of every file of the project that it includes."""
    text = (project / source).read_text(encoding="utf-8")
    yield text
    for name in _INCLUDED.findall(text):
        places = (source.parent / name, Path("kernels", name))
        yield from _texts(project, next(place for place in places if (project / place).is_file()))
