"""A client of the GDB remote serial protocol: load an image, run it, read the measurement from memory.

OpenOCD, pyOCD, J-Link's server and QEMU speak it ("Debugging with GDB", appendix E). Only what this takes is spoken:
the packets ``?``, ``qRcmd``, ``M``, ``m``, ``P``, ``Z``, ``z``, ``c`` and ``D``. Nothing is written to flash: an
image for a board lies in its SRAM.
"""

import re
import socket
import time
from types import TracebackType

from mobo.export.errors import ExportError
from mobo.export.firmware.elf import Image
from mobo.export.firmware.line import Report, parse_line

# Register numbers of Arm's M profile in every server's target description.
_STACK, _LINK, _COUNTER, _STATUS = 13, 14, 15, 25
_THUMB = 1 << 24
_VECTOR_TABLE = 0xE000_ED08
# What stops every interrupt of the program that ran before: SysTick off, none of 256 enabled, nothing pending.
_QUIET = (
    (0xE000_E010, bytes(4)),
    (0xE000_E180, b"\xff" * 32),
    (0xE000_E280, b"\xff" * 32),
    (0xE000_ED04, b"\0\0\0\x0a"),
)
_CHUNK_BYTES = 512
_LONGEST_PACKET = 1 << 16
_PATIENCE_S = 10.0
_INTERRUPT = b"\x03"
_RUN, _RUN_OFFSET = re.compile(r"(.)\*(.)", re.DOTALL), 29


class GdbError(ExportError):
    """The server cannot be reached, or refuses what is asked of it."""


class GdbServer:
    """A connection to a server whose core is halted.

    Args:
        address: ``HOST:PORT``.

    Raises:
        GdbError: There is no such server, or it does not answer.
    """

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise GdbError(f"{address!r} is no server; give HOST:PORT, e.g. localhost:3333")
        self._address, self._received = address, b""
        try:
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S)
        except OSError as error:
            raise GdbError(
                f"no debugger's server answers at {address}: {error}; start OpenOCD, pyOCD or J-Link"
            ) from error

    def __enter__(self) -> "GdbServer":
        """Halt the core."""
        try:
            self._send_raw(b"+")
            if not self._ask("?"):
                raise GdbError(f"{self._address} does not answer; is it a debugger's server?")
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the core as it is."""
        try:
            self._send("D")
        except GdbError:
            pass
        finally:
            self._socket.close()

    def reset(self) -> None:
        """Reset the core and halt it, where the server knows how; then stop all interrupts of what ran before."""
        self._ask(f"qRcmd,{b'reset halt'.hex()}")
        for address, data in _QUIET:
            self.write(address, data)

    def write(self, address: int, data: bytes) -> None:
        """Write memory.

        Raises:
            GdbError: The server refuses it: nothing is there, or it is flash.
        """
        for start in range(0, len(data), _CHUNK_BYTES):
            part = data[start : start + _CHUNK_BYTES]
            self._expect_ok(f"M{address + start:x},{len(part):x}:{part.hex()}", f"write memory at {address + start:#x}")

    def read(self, address: int, count: int) -> bytes:
        """Read memory.

        Raises:
            GdbError: The server refuses it.
        """
        data = b""
        while len(data) < count:
            size = min(_CHUNK_BYTES, count - len(data))
            answer = self._ask(f"m{address + len(data):x},{size:x}")
            try:
                part = bytes.fromhex(answer)
            except ValueError:
                part = b""
            if not 0 < len(part) <= size:
                raise GdbError(
                    f"{self._address} does not read memory at {address + len(data):#x}: it said {answer[:40]!r}"
                )
            data += part
        return data

    def set_register(self, number: int, value: int) -> None:
        """Set a register of the halted core.

        Raises:
            GdbError: The server refuses it.
        """
        self._expect_ok(f"P{number:x}={value.to_bytes(4, 'little').hex()}", f"set register {number}")

    def run_until(self, address: int, *, seconds: float) -> None:
        """Let the core run until it reaches an address, and halt it there.

        Raises:
            GdbError: It did not get there in time, or stopped elsewhere.
        """
        kind = next((kind for kind in "10" if self._ask(f"Z{kind},{address:x},2") == "OK"), None)
        if kind is None:
            raise GdbError(f"{self._address} sets no breakpoint at {address:#x}, neither in hardware nor in memory")
        self._send("c")
        stop = self._stop(time.monotonic() + seconds)
        if not stop:
            self._send_raw(_INTERRUPT)
            self._stop(time.monotonic() + _PATIENCE_S)
            raise GdbError(f"the firmware did not end a measurement within {seconds:g} s")
        self._expect_ok(f"z{kind},{address:x},2", "remove the breakpoint")
        if not stop.startswith(("S05", "T05")):
            raise GdbError(f"the core stopped before it had measured: {self._address} said {stop[:40]!r}")

    def _stop(self, until: float) -> str:
        """Return why the core stopped, empty where it runs on; what the program prints is passed over."""
        while time.monotonic() < until:
            answer = self._packet(until)
            if answer[:1] in ("S", "T", "W", "X"):
                return answer
        return ""

    def _expect_ok(self, command: str, what: str) -> None:
        answer = self._ask(command)
        if answer != "OK":
            said = f"it said {answer[:40]!r}" if answer else "it does not know how"
            raise GdbError(f"{self._address} did not {what}: {said}")

    def _ask(self, command: str) -> str:
        self._send(command)
        answer = self._packet(time.monotonic() + _PATIENCE_S)
        while answer[:1] == "O" and answer != "OK":
            answer = self._packet(time.monotonic() + _PATIENCE_S)
        return answer

    def _send(self, command: str) -> None:
        data = command.encode()
        self._send_raw(b"$" + data + f"#{sum(data) & 0xFF:02x}".encode())

    def _send_raw(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise GdbError(f"{self._address} hung up: {error}") from error

    def _packet(self, until: float) -> str:
        """Return the next whole packet, empty where none comes in time; acknowledgements are passed over."""
        while True:
            start, end = self._received.find(b"$"), self._received.find(b"#")
            if 0 <= start < end and len(self._received) >= end + 3:
                body, check = self._received[start + 1 : end], self._received[end + 1 : end + 3]
                self._received = self._received[end + 3 :]
                if f"{sum(body) & 0xFF:02x}".encode() != check.lower():
                    raise GdbError(f"a packet of {self._address} was damaged on its way")
                self._send_raw(b"+")
                return _unfolded(body.decode("latin-1"))
            if 0 <= end < start:
                self._received = self._received[start:]
            elif not self._more(until):
                return ""

    def _more(self, until: float) -> bool:
        if len(self._received) > _LONGEST_PACKET:
            raise GdbError(
                f"{self._address} sent more than {_LONGEST_PACKET} bytes without a packet; is it a debugger's?"
            )
        try:
            self._socket.settimeout(max(0.01, until - time.monotonic()))
            part = self._socket.recv(4096)
        except TimeoutError:
            return False
        except OSError as error:
            raise GdbError(f"{self._address} hung up: {error}") from error
        if not part:
            raise GdbError(f"{self._address} hung up")
        self._received += part
        return True


def _unfolded(body: str) -> str:
    """Return a packet with its runs written out: a star and a letter repeat the letter before.

    >>> _unfolded("0* 1"), _unfolded("OK")
    ('00001', 'OK')
    """
    return _RUN.sub(lambda run: run[1] * (1 + max(0, ord(run[2]) - _RUN_OFFSET)), body)


def measure_by_debugger(address: str, image: Image, *, seconds: float) -> Report:
    """Load an image, run it to the end of its first measurement and return that.

    Args:
        address: ``HOST:PORT`` of the debugger's server.
        image: The image; its vector table is where its lowest part is.
        seconds: How long the measurement may take.

    Raises:
        GdbError: The server cannot be reached, refuses something, or the firmware does not get there.
        LineError: What lies in memory is no measurement.
        ExportError: The image is of something else.
    """
    for name in ("mobo_line", "mobo_done"):
        if name not in image.symbols:
            raise ExportError(f"the image has no symbol {name!r}; build it from the firmware's folder bare_metal")
    table, content = min(image.segments)
    with GdbServer(address) as server:
        server.reset()
        for place, data in image.segments:
            server.write(place, data)
        if server.read(table, 8) != content[:8]:
            raise GdbError(f"what was written to {table:#x} is not there: the board has no RAM at this address")
        server.write(_VECTOR_TABLE, table.to_bytes(4, "little"))
        server.set_register(_STACK, int.from_bytes(content[:4], "little"))
        server.set_register(_LINK, 0xFFFF_FFFF)
        server.set_register(_COUNTER, int.from_bytes(content[4:8], "little") & ~1)
        server.set_register(_STATUS, _THUMB)
        server.run_until(image.symbols["mobo_done"], seconds=seconds)
        line = server.read(image.symbols["mobo_line"], image.sizes["mobo_line"])
    return parse_line(line.partition(b"\0")[0])
