"""Binary arithmetic coding with adaptive contexts: bits in, bytes out, and back without loss.

A context counts the zeros and ones it has seen; their shares split the range. All in integers, so that every machine
writes and reads the same bytes.

Source: Martin, "Range encoding: an algorithm for removing redundancy from a digitised message", 1979, with the carry
propagation of the LZMA specification (Pavlov, public domain); counts after Krichevsky and Trofimov, "The performance of
universal encoding", 1981. Own code because the coders on PyPI take probabilities in floating point.
"""

from collections.abc import Iterable

_TOP = 1 << 24
_MASK = 0xFFFFFFFF
_STEP = 2
# Counts are halved beyond it: what was seen long ago weighs less.
TOTAL_LIMIT = 510


class Context:
    """What a coder expects of one kind of bit; it learns with every bit.

    Attributes:
        counts: Twice the number of zeros and of ones seen, plus one each.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [1, 1]

    def learn(self, bit: int) -> None:
        """Count one more bit."""
        counts = self.counts
        counts[bit] += _STEP
        if counts[0] + counts[1] > TOTAL_LIMIT:
            counts[0] = (counts[0] + 1) // 2
            counts[1] = (counts[1] + 1) // 2

    def split(self, width: int) -> int:
        """Return the part of a range that stands for a zero; it and the rest are at least 1."""
        zeros, ones = self.counts
        return width // (zeros + ones) * zeros


class RangeEncoder:
    """Turns bits into bytes."""

    def __init__(self) -> None:
        self._low, self._range = 0, _MASK
        self._cache, self._pending = 0, 0
        self._first = True
        self._bytes = bytearray()

    def encode(self, bits: Iterable[tuple[int, Context | None]]) -> None:
        """Add bits, each with its context; without one zeros and ones are equally likely.

        A network has millions of them, so what :class:`Context` says is done here, without a call for every bit.
        """
        low, width = self._low, self._range
        for bit, context in bits:
            if context is None:
                bound = width >> 1
            else:
                counts = context.counts
                zeros, ones = counts
                bound = width // (zeros + ones) * zeros
                counts[bit] += _STEP
                if zeros + ones + _STEP > TOTAL_LIMIT:
                    counts[0], counts[1] = (counts[0] + 1) // 2, (counts[1] + 1) // 2
            if bit:
                low += bound
                width -= bound
            else:
                width = bound
            while width < _TOP:
                width = (width << 8) & _MASK
                self._low = low
                self._shift()
                low = self._low
        self._low, self._range = low, width

    def _shift(self) -> None:
        """Move the highest byte out, or keep it back while a carry could still change it."""
        if self._low < 0xFF000000 or self._low > _MASK:
            carry = self._low >> 32
            if not self._first:
                self._bytes.append((self._cache + carry) & 0xFF)
            self._bytes += bytes([(0xFF + carry) & 0xFF]) * self._pending
            self._first, self._pending = False, 0
            self._cache = (self._low >> 24) & 0xFF
        else:
            self._pending += 1
        self._low = (self._low << 8) & _MASK

    def finish(self) -> bytes:
        """Return all bytes; zeros at the end are left out, for the decoder reads them anyway."""
        for _ in range(5):
            self._shift()
        return bytes(self._bytes).rstrip(b"\0")


class RangeDecoder:
    """Turns the bytes of a :class:`RangeEncoder` back into bits; contexts must be as fresh as the encoder's were.

    Args:
        data: The bytes; behind their end come zeros.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._position = data, 4
        self._range = _MASK
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")

    def decode(self, context: Context | None = None) -> int:
        """Return the next bit; the context must be the one it was encoded with."""
        bound = self._range >> 1 if context is None else context.split(self._range)
        bit = int(self._code >= bound)
        if bit:
            self._code -= bound
            self._range -= bound
        else:
            self._range = bound
        if context is not None:
            context.learn(bit)
        while self._range < _TOP:
            self._range = (self._range << 8) & _MASK
            self._code = ((self._code << 8) & _MASK) | self._next()
        return bit

    def _next(self) -> int:
        self._position += 1
        return self._data[self._position - 1] if self._position <= len(self._data) else 0
