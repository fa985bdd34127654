"""As much of an ELF file as an emulator needs: what to load where, and where the symbols are."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mobo.export.errors import ExportError

_ARM = 40
_CONTENT = 1  # SHT_PROGBITS
_LOADED = 1  # PT_LOAD
_SYMBOL_TABLE = 2  # SHT_SYMTAB
_ALLOCATED, _WRITABLE = 2, 1  # section flags


@dataclass(frozen=True)
class Image:
    """A linked image.

    Attributes:
        segments: Physical address and content of everything that lies in flash.
        symbols: Address of every symbol; of functions without the Thumb bit.
        sizes: Bytes of every symbol.
        flash_bytes: What lies in flash: code, constants, initial values.
        ram_bytes: What is reserved in RAM: variables; the stack apart.
    """

    segments: tuple[tuple[int, bytes], ...]
    symbols: Mapping[str, int]
    sizes: Mapping[str, int]
    flash_bytes: int
    ram_bytes: int


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int


def read_image(data: bytes) -> Image:
    """Return the image of a 32-bit little-endian ARM executable.

    Raises:
        ExportError: The bytes are something else or cut off.
    """
    _check_arm(data)
    try:
        sections = tuple(_sections(data))
        segments = tuple(_segments(data))
        symbols = tuple(_symbols(data, sections))
    except (struct.error, IndexError, ValueError) as error:
        raise ExportError(f"the image is damaged ({error}); build it again") from error
    return Image(
        segments=segments,
        symbols=MappingProxyType({name: address for name, address, _ in symbols}),
        sizes=MappingProxyType({name: size for name, _, size in symbols}),
        flash_bytes=sum(len(content) for _, content in segments),
        ram_bytes=sum(section.size for section in sections if section.flags & _ALLOCATED and section.flags & _WRITABLE),
    )


def constant_bytes(data: bytes) -> int:
    """Return the bytes of code and constants of an object file, tables for unwinding apart.

    Raises:
        ExportError: It is something else or cut off.
    """
    _check_arm(data)
    try:
        sections = tuple(_sections(data))
    except struct.error as error:
        raise ExportError(f"the object file is damaged ({error}); compile it again") from error
    constant = (
        section
        for section in sections
        if section.kind == _CONTENT and section.flags & _ALLOCATED and not section.flags & _WRITABLE
    )
    return sum(section.size for section in constant)


def _check_arm(data: bytes) -> None:
    if data[:6] != b"\x7fELF\x01\x01" or len(data) < 52 or struct.unpack_from("<H", data, 18) != (_ARM,):
        raise ExportError("the image is no 32-bit little-endian ARM executable; build it with the project's Makefile")


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    (start,) = struct.unpack_from("<I", data, 28)
    size, count = struct.unpack_from("<HH", data, 42)
    for index in range(count):
        kind, offset, _, physical, length = struct.unpack_from("<5I", data, start + index * size)
        if kind == _LOADED and length:
            yield physical, data[offset : offset + length]


def _sections(data: bytes) -> Iterator[_Section]:
    (start,) = struct.unpack_from("<I", data, 32)
    size, count = struct.unpack_from("<HH", data, 46)
    for index in range(count):
        _, kind, flags, _, offset, length, link = struct.unpack_from("<7I", data, start + index * size)
        yield _Section(kind, flags, offset, length, link)


def _symbols(data: bytes, sections: tuple[_Section, ...]) -> Iterator[tuple[str, int, int]]:
    for section in sections:
        if section.kind == _SYMBOL_TABLE:
            names = sections[section.link].offset
            for position in range(section.offset, section.offset + section.size, 16):
                name, value, size, info = struct.unpack_from("<IIIB", data, position)
                text = data[names + name : data.index(b"\0", names + name)].decode()
                is_function = info & 15 == 2
                yield text, (value & ~1 if is_function else value), size
