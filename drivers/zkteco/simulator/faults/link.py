"""Faults of the transmission: bytes, pauses, dropped connections."""

# ruff: noqa: D102, ARG002 - the promise and the arguments of a hook are documented in the class of its layer
import struct
from collections.abc import Callable, Iterator, Sequence

from drivers.zkteco import wire
from drivers.zkteco.simulator.faults.base import LinkFault, requests_log
from drivers.zkteco.simulator.faults.values import Value, duration, stage, up_to
from drivers.zkteco.simulator.hooks import Drop, Step, Steps, Wait
from drivers.zkteco.wire import Packet

PANEL_FRAME = bytes.fromhex("AA01C90100F313D955")
"""The answer of a door access panel to anything that it does not understand."""
WEB_SERVER = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


def _cut(steps: Steps, sizes: Callable[[int], Sequence[int]], *, udp: bool) -> Iterator[Step]:
    """Split packets at the offsets that ``sizes`` returns for a length; datagrams stay whole."""
    for step in steps:
        if not isinstance(step, bytes) or udp:
            yield step
            continue
        begins = 0
        for ends in [*sizes(len(step)), len(step)]:
            if begins < ends <= len(step):
                yield step[begins:ends]
                begins = ends


class Trickle(LinkFault):
    """Bytes come one by one. Over UDP a datagram stays whole and comes this much later."""

    quirks = (1, 3)
    value = Value("time between two bytes", "1ms", duration)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in _cut(steps, lambda length: range(1, length), udp=udp):
            yield Wait(self.given)
            yield step


class Split(LinkFault):
    """Every packet is sent in two pieces."""

    quirks = (1, 3, 30)
    value = Value("bytes in the first piece", "3", up_to(10**6))

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for number, step in enumerate(_cut(steps, lambda _length: (self.given,), udp=udp)):
            if number:
                yield Wait(0.001)
            yield step


class Coalesce(LinkFault):
    """Events wait for the next answer, and all of its packets come in one segment with them."""

    quirks = (30,)
    joins_events = True

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if udp:
            yield from steps
            return
        joined = b""
        for step in steps:
            if isinstance(step, bytes):
                joined += step
            else:
                yield joined
                joined = b""
                yield step
        yield joined


def _until(steps: Steps, length: int) -> Iterator[Step]:
    """Yield the first ``length`` bytes, and the pauses between them."""
    for step in steps:
        if not isinstance(step, bytes):
            yield step
            continue
        if step[:length]:
            yield step[:length]
        length -= len(step)
        if length <= 0:
            return


class HangUp(LinkFault):
    """The terminal hangs up in place of an answer, or in the middle of it."""

    quirks = (2,)
    value = Value("which answer, +BYTES of it sent before", "any", stage)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if not self.given.matches(request):
            yield from steps
            return
        if self.given.after:
            yield from _until(steps, self.given.after)
        yield Drop()


class Silence(LinkFault):
    """The terminal sends nothing in place of an answer, or falls silent in the middle of it."""

    quirks = (2, 4, 5)
    value = Value("which answer, +BYTES of it sent before", "any", stage)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if not self.given.matches(request):
            return steps
        return _until(steps, self.given.after) if self.given.after else ()


class Late(LinkFault):
    """Every answer comes late."""

    quirks = (8, 9)
    value = Value("how late", "1s", duration)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if request is not None:
            yield Wait(self.given)
        yield from steps


class SlowPrepare(LinkFault):
    """The terminal needs long to prepare its log."""

    quirks = (8,)
    value = Value("how long", "5s", duration)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if request is not None and requests_log(request):
            yield Wait(self.given)
        yield from steps


class Line(LinkFault):
    """The line is slow."""

    quirks = (8,)
    value = Value("kbit/s", "400", up_to(10**6))

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in _cut(steps, lambda length: range(1024, length, 1024), udp=udp):
            yield step
            if isinstance(step, bytes):
                yield Wait(len(step) * 8 / (self.given * 1000))


class Lose(LinkFault):
    """Datagrams get lost."""

    quirks = (9,)
    value = Value("one of how many", "20", up_to(10**6))

    def begin(self) -> None:
        self._sent = 0

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in steps:
            if udp and isinstance(step, bytes):
                self._sent += 1
                if self._sent % self.given == 0:
                    continue
            yield step


class Duplicate(LinkFault):
    """Datagrams arrive twice."""

    quirks = (9,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        for step in steps:
            yield step
            if udp and isinstance(step, bytes):
                yield step


class Reorder(LinkFault):
    """The datagrams of an answer arrive in reverse order."""

    quirks = (9,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return reversed(list(steps)) if udp else steps


def _patched(steps: Steps, at: int, bytes_: bytes) -> Iterator[Step]:
    for step in steps:
        yield step[:at] + bytes_ + step[at + len(bytes_) :] if isinstance(step, bytes) else step


class BadChecksum(LinkFault):
    """The checksums of answers are wrong."""

    quirks = (1,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return _patched(steps, 2 if udp else 10, b"\x5a\xa5")


class Length(LinkFault):
    """The length in the top header of answers is wrong. Datagrams have none."""

    quirks = (1, 10)
    value = Value("bytes it states", "4294967295", up_to(2**32 - 1, 0))

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return steps if udp else _patched(steps, 4, struct.pack("<I", self.given))


class Burst(LinkFault):
    """A table that is read directly comes in one burst, of which the packet's length covers the beginning only."""

    quirks = (10,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        if udp or request is None or request.command not in (wire.CMD_ATTLOG_RRQ, wire.CMD_USERTEMP_RRQ):
            return steps
        packets = [step for step in steps if isinstance(step, bytes)]
        if len(packets) < 3:
            return packets
        announced, *data, closing = packets
        # The header of the first packet stays: its length covers its own data only.
        return (announced, data[0] + b"".join(packet[16:] for packet in data[1:]), closing)


class SecureMagic(LinkFault):
    """Answers are encrypted, which their first four bytes say. Datagrams have no such mark."""

    quirks = (12,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return steps if udp else _patched(steps, 0, wire.SECURE_MAGIC)


class AccessPanel(LinkFault):
    """A door access panel answers at this address."""

    quirks = (13,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return () if request is None else (PANEL_FRAME,)


class Garbage(LinkFault):
    """Something else than a terminal answers at this address: a web server."""

    quirks = (1,)

    def steps(self, request: Packet | None, steps: Steps, *, udp: bool) -> Steps:
        return () if request is None else (WEB_SERVER,)
