"""Pieces of C source: names, arrays, structure initialisers, the files written by hand."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

_LINE = 100


@cache
def package_text(path: str) -> str:
    """Return a file of the folder ``c/sources``."""
    return files("mobo.export.c").joinpath("sources", *path.split("/")).read_text(encoding="utf-8")


def identifier(index: int, name: str) -> str:
    """Return a C name for the layer at an index; different layers get different names.

    >>> identifier(3, "blocks.0.conv")
    'l3_blocks_0_conv'
    """
    return f"l{index}_" + re.sub(r"\W", "_", name, flags=re.ASCII)


def comment(text: str) -> str:
    """Return a text that cannot end the comment it stands in, nor hold anything but printable ASCII."""
    printable = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return printable.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?").rstrip("\\")


def wrapped(values: Iterable[str], indent: str = "  ") -> str:
    """Return values between commas, in lines of a readable length."""
    lines, line = [], indent
    for value in values:
        if len(line) + len(value) + 2 > _LINE and line != indent:
            lines.append(line.rstrip())
            line = indent
        line += value + ", "
    return "\n".join([*lines, line.rstrip().rstrip(",")])


def array(declaration: str, values: npt.NDArray[np.generic] | Iterable[str], *, attribute: str = "") -> str:
    """Return a constant array's definition.

    Args:
        declaration: Type and name, ``"int8_t shifts"``.
        values: Numbers, or texts of elements.
        attribute: What follows the brackets.
    """
    texts = [str(value) for value in values.reshape(-1).tolist()] if isinstance(values, np.ndarray) else list(values)
    return f"static const {declaration}[{len(texts)}]{attribute} = {{\n{wrapped(texts)}\n}};\n"


def structure(declaration: str, fields: Mapping[str, str]) -> str:
    """Return a constant structure's definition with named fields."""
    lines = "".join(f"  .{field} = {value},\n" for field, value in fields.items())
    return f"static const {declaration} = {{\n{lines}}};\n"


def int32(value: int) -> str:
    """Return a 32-bit number; the smallest cannot be written as a literal of its type."""
    return "INT32_MIN" if value == -(2**31) else str(value)
