"""A table that a terminal has prepared in its transfer buffer, fetched in chunks on demand.

A table is four bytes that count the bytes of its records, then the records. A slow terminal sends a full log for
minutes, so a chunk is fetched only when it is needed, and received bytes are kept.
"""

import math
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

from drivers.base import DriverError, ProtocolError, Record, TerminalUnavailable
from drivers.zkteco import layouts, wire
from drivers.zkteco.transport import UDP_TRIES, Pyzk, PyzkRefusal, Transport, translated_errors

CHUNK = 16 * 1024
"""Bytes of one request. At 400 kbit/s a live punch waits a third of a second behind them."""
HEAD = 64
"""Bytes fetched first: the count, and enough to recognise the beginning if it is sent in place of another part."""
BLOCK = 64
"""Records decoded at a time. More would be quicker, but 64 terminals read at once would leave 8 MB more of a small
machine's memory in pieces that nothing else fits into."""
SAMPLE_THRESHOLD = 4 * layouts.ALIGNMENT
"""Slices shorter than this are judged whole, longer ones by pieces."""
SAMPLE_PIECES = 8
SAMPLE_PIECE = 2048
MIN_RECORD = 8


class BadTable(ProtocolError):  # noqa: N818 - says what was met
    """The terminal does not send the requested part of its table, or contradicts itself about its size."""


class Table:
    """One table. The terminal keeps it until :meth:`close`, or until all of it was sent in one answer."""

    def __init__(
        self,
        pyzk: Pyzk,
        transport: Transport,
        size: int,
        prepared_s: float,
        body: bytes | None = None,
        *,
        buffered: bool = True,
    ) -> None:
        """Describe ``size`` bytes that took ``prepared_s`` to prepare; ``body`` is all of them if the answer held them.

        A table that was requested without a buffer is not ``buffered``.
        """
        if size > wire.MAX_TABLE:
            raise BadTable(f"the terminal announces a table of {size} bytes; {wire.MAX_TABLE} are believed")
        self.prepared_s = prepared_s
        self.buffered = buffered
        self._pyzk = pyzk
        self._transport = transport
        self._size = size
        self._body = body
        self._open = body is None

    @cached_property
    def records_size(self) -> int:
        """Bytes of records, by the table's own count; BadTable where that cannot be."""
        if not self._size:
            return 0
        size = int.from_bytes(self._head[:4], "little")
        behind = self._size - 4 - size
        # A few bytes behind the records are padding. A count of 0 before a buffer full of them is no empty log.
        if behind < 0 or (size == 0 and behind >= MIN_RECORD):
            raise BadTable(f"a table that says it has {size} bytes in a buffer of {self._size}")
        return size

    def slice(self, first: int = 0) -> "Slice":
        """Return the records from their byte ``first`` on."""
        return Slice(self, first)

    def fetch(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes of records from their byte ``start`` on; BadTable where the terminal sends others.

        Where a terminal does not serve this part, all of the table is requested. RuntimeError where it was closed.
        """
        start += 4
        if self._body is None and start + length > len(self._head):
            with translated_errors(self._transport):
                try:
                    return self._checked_part(start, length)
                except BadTable:
                    self._body = self._whole_table()
        return (self._head if self._body is None else self._body)[start : start + length]

    def close(self) -> None:
        """Free the buffer: terminals have little memory. May be repeated, also after the connection was lost."""
        if self._open:
            self._open = False
            with suppress(DriverError), translated_errors(self._transport):
                self._pyzk.free_data()

    @cached_property
    def _head(self) -> bytes:
        length = min(HEAD, self._size)
        with translated_errors(self._transport):
            return self._fetch_part(0, length) if self._body is None else self._body[:length]

    def _checked_part(self, start: int, length: int) -> bytes:
        part = self._fetch_part(start, length)
        # A terminal may ignore the offset; the beginning of its table must not be taken for the requested part.
        if part[: len(self._head)] == self._head[:length]:
            raise BadTable("the terminal sends the beginning of its table whatever part is requested")
        return part

    def _whole_table(self) -> bytes:
        body = self._fetch_part(0, self._size)
        if not body.startswith(self._head):
            raise BadTable("the terminal does not send the same table twice")
        return body

    def _fetch_part(self, start: int, length: int) -> bytes:
        if not self._open:
            raise RuntimeError("this reading has ended: another was begun, or the conversation is over")
        try:
            part = self._fetch_with_retries(start, length)
        except PyzkRefusal:
            raise BadTable("the terminal laid out a table and then refused to send it") from None
        if len(part) != length:
            raise BadTable(f"the terminal sent {len(part)} bytes where {length} were requested")
        return part

    def _fetch_with_retries(self, start: int, length: int) -> bytes:
        tries = 1 if self._pyzk.tcp else UDP_TRIES
        while True:
            tries -= 1
            try:
                return self._pyzk.chunk(start, length)
            except TerminalUnavailable:
                if not tries:
                    raise


class Slice:
    """The records of a table from a byte offset to the end: received bytes are kept, the rest is fetched on demand."""

    def __init__(self, table: Table, first: int) -> None:
        self.size = table.records_size - first
        self._table = table
        self._first = first
        self._received = bytearray()
        self._is_final = False
        """No other slice of the table will be requested."""

    def whole(self) -> bytes:
        """Return all bytes."""
        return bytes(self.fetch_all())

    def fetch_all(self, deadline: float = math.inf) -> bytearray:
        """Fetch all bytes and return them uncopied; TerminalUnavailable at the monotonic time ``deadline``."""
        while self._fetch_next():
            if time.monotonic() >= deadline:
                raise TerminalUnavailable(
                    f"{len(self._received)} of {self.size} bytes came in the time there is for them"
                )
        return self._received

    def discard(self, kept_bytes: int) -> bytes:
        """Return the beginning of the received bytes, and free the memory of all of them."""
        kept, self._received = bytes(self._received[:kept_bytes]), bytearray()
        return kept

    def sample(self, step: int) -> layouts.Sample:
        """Return the whole slice if it is short, else pieces spread over it that begin at multiples of ``step``."""
        if self.size >= SAMPLE_THRESHOLD:
            steps = self.size // step
            starts = dict.fromkeys(number * steps // SAMPLE_PIECES * step for number in range(SAMPLE_PIECES))
            pieces = [self._table.fetch(self._first + at, min(SAMPLE_PIECE, self.size - at)) for at in starts]
            return layouts.Sample(self.size, pieces)
        return layouts.Sample.whole(self.whole())

    def records(self, layout: layouts.Layout) -> "LazyRecords":
        """Return its records; the table is closed when the last of them was received."""
        self._is_final = True
        self._close_if_complete()
        return LazyRecords(self, layout)

    def decode(self, layout: layouts.Layout) -> Iterator[Record]:
        """Yield the records: the received ones first, then those that must be fetched."""
        at = 0
        while self.size - at >= layout.stride:
            ready = min(len(self._received) - at, BLOCK * layout.stride) // layout.stride * layout.stride
            if ready:
                yield from layout.decode(bytes(self._received[at : at + ready]))
                at += ready
            else:
                self._fetch_next()

    def _fetch_next(self) -> bool:
        missing = self.size - len(self._received)
        if missing:
            self._received += self._table.fetch(self._first + len(self._received), min(CHUNK, missing))
            self._close_if_complete()
        return bool(missing)

    def _close_if_complete(self) -> None:
        if self._is_final and len(self._received) == self.size:
            self._table.close()


class LazyRecords:
    """The records of a slice in one layout, fetched and decoded as they are iterated, as often as they are iterated."""

    def __init__(self, source: Slice, layout: layouts.Layout) -> None:
        self._slice = source
        self._layout = layout

    def __iter__(self) -> Iterator[Record]:
        return self._slice.decode(self._layout)
