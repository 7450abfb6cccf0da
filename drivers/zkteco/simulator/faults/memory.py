"""Faults of the memory: count, log, clock, users, identity."""

# ruff: noqa: D102, ARG002 - the promise and the arguments of a hook are documented in the class of its layer
import struct
from collections.abc import Iterator
from datetime import timedelta

from drivers.zkteco import wire
from drivers.zkteco.layouts import LAYOUTS
from drivers.zkteco.simulator.faults.base import MemoryFault
from drivers.zkteco.simulator.faults.values import (
    NewCount,
    Value,
    ascii_text,
    change,
    moment,
    new_count,
    one_of,
    require_clock_range,
    shift,
    up_to,
    whole_seconds,
)
from drivers.zkteco.simulator.memory import TIME_AT, Memory

BAD_TIME = 0xFFFFFFFF
"""Decodes to a day of the year 2133, which no terminal shows."""
PIN_AT = {"22": (2, 8), "40": (2, 26), "49": (2, 26)}
"""First byte of the PIN and the byte after it, in records that hold it as text."""


def _damaged_records(terminal: Memory, count: int, at: int, bytes_: bytes) -> bytes:
    """Return records of an enrolled person with ``bytes_`` at the offset ``at``."""
    records = b""
    for _ in range(count):
        record = bytearray(terminal.encode(terminal.any_pin(), terminal.clock()))
        record[at : at + len(bytes_)] = bytes_
        records += record
    return records


class ClearLog(MemoryFault):
    """A person clears the log at the terminal's menu."""

    quirks = (26,)
    lasting = False

    def begin(self) -> None:
        self.terminal.clear_log()


class Purge(MemoryFault):
    """The terminal drops its oldest records to make room."""

    quirks = (26,)
    value = Value("records", "100", up_to(10**6))
    lasting = False

    def begin(self) -> None:
        self.terminal.purge(self.given)


class Full(MemoryFault):
    """The log has no room left: each punch overwrites the oldest record, and the count stays."""

    quirks = (26,)

    def begin(self) -> None:
        self._capacity, self.terminal.capacity = self.terminal.capacity, max(1, self.terminal.count)

    def end(self) -> None:
        self.terminal.capacity = self._capacity


class Shrink(MemoryFault):
    """The log seems to end early, in the count and when it is read; off, the rest is back."""

    quirks = (26,)
    value = Value("records left", "0", up_to(10**6, 0))

    def count(self, records: int) -> int:
        return min(records, int(self.given))

    def table(self, table: bytes) -> bytes:
        records = self.terminal.log_body()[: self.given * self.terminal.stride]
        return struct.pack("<I", len(records)) + records


class Count(MemoryFault):
    """The count of records is wrong."""

    quirks = (16, 21)
    value = Value("the number reported, or +N or -N beside the true one", "0", new_count)

    def count(self, records: int) -> int:
        given: NewCount = self.given
        return max(0, records + given.number) if given.relative else given.number


class Prefix(MemoryFault):
    """The byte count in front of the log is wrong."""

    quirks = (21,)
    value = Value("+BYTES or -BYTES beside the true one", "+40", change)

    def table(self, table: bytes) -> bytes:
        return struct.pack("<I", max(0, len(table) - 4 + self.given)) + table[4:]


class Trailing(MemoryFault):
    """Bytes that belong to nothing follow the records of the log."""

    quirks = (21,)
    value = Value("bytes", "3", up_to(10**6))

    def table(self, table: bytes) -> bytes:
        return table + b"\xee" * int(self.given)


class Clock(MemoryFault):
    """The clock jumps, and jumps back when the fault is switched off."""

    quirks = (28,)
    value = Value("how far, such as +1h or -30s", "+1h", shift)

    def begin(self) -> None:
        self.terminal.set_clock(require_clock_range(self.terminal.clock() + self.given))

    def end(self) -> None:
        self.terminal.set_clock(self.terminal.clock() - self.given)


class ClockReset(MemoryFault):
    """The clock's battery fails: it begins again; off, it is as right as before."""

    quirks = (28,)
    value = Value("the time it begins at", "2000-01-01T00:00:00", moment)

    def begin(self) -> None:
        self._offset = self.terminal.clock_offset
        self.terminal.set_clock(self.given)

    def end(self) -> None:
        self.terminal.clock_offset = self._offset


class BadDate(MemoryFault):
    """Records with an impossible date appear in the log."""

    quirks = (20,)
    value = Value("records", "1", up_to(1000))
    lasting = False

    def begin(self) -> None:
        at = TIME_AT[self.terminal.layout]
        self.terminal.append_raw(_damaged_records(self.terminal, self.given, at, struct.pack("<I", BAD_TIME)))


class BadPin(MemoryFault):
    """Records without a PIN appear in the log, as after a person was deleted."""

    quirks = (22,)
    value = Value("records", "1", up_to(1000))
    lasting = False

    def begin(self) -> None:
        if self.terminal.layout not in PIN_AT:
            raise ValueError(f"records of layout {self.terminal.layout} hold no PIN as text")
        begins, ends = PIN_AT[self.terminal.layout]
        self.terminal.append_raw(_damaged_records(self.terminal, self.given, begins, bytes(ends - begins)))


class OddPins(MemoryFault):
    """People with leading zeros, letters and 24 characters in their PINs punch, one after the other."""

    quirks = (23,)
    lasting = False

    def begin(self) -> None:
        for pin in ("0042", "A7-b", "X" * 24):
            self.terminal.punch(pin)


STALE = b"\xc4\xe3old99999999999999999999"
"""Begins as a name in a Chinese encoding would."""


class StaleBytes(MemoryFault):
    """Behind the NUL that ends a PIN stands what is left of a longer one."""

    quirks = (24,)

    def begin(self) -> None:
        if self.terminal.layout not in PIN_AT:
            raise ValueError(f"records of layout {self.terminal.layout} hold no PIN as text")

    def table(self, table: bytes) -> bytes:
        begins, ends = PIN_AT.get(self.terminal.layout, (0, 0))
        spoilt = bytearray(table)
        for at in range(4, len(table) - self.terminal.stride + 1, self.terminal.stride):
            pin = table[at + begins : at + ends].partition(b"\0")[0]
            stale = STALE[: max(0, ends - begins - len(pin) - 1)]
            spoilt[at + ends - len(stale) : at + ends] = stale
        return bytes(spoilt)


class Reindex(MemoryFault):
    """The terminal numbers its records anew: the first two bytes of each differ from what they were."""

    quirks = (22,)
    value = Value("how far the numbers move", "1000", up_to(65535))

    def begin(self) -> None:
        if not LAYOUTS[self.terminal.layout].index_width:
            raise ValueError(f"records of layout {self.terminal.layout} hold no index")

    def table(self, table: bytes) -> bytes:
        moved = bytearray(table)
        if not LAYOUTS[self.terminal.layout].index_width:
            return table
        for at in range(4, len(table) - self.terminal.stride + 1, self.terminal.stride):
            (index,) = struct.unpack_from("<H", table, at)
            struct.pack_into("<H", moved, at, (index + self.given) & wire.USHRT_MAX)
        return bytes(moved)


class DeleteUser(MemoryFault):
    """A person is deleted from the terminal; the records stay."""

    quirks = (22,)
    value = Value("the PIN, or first", "first", ascii_text)
    lasting = False

    def begin(self) -> None:
        self.terminal.remove_user(self.terminal.any_pin() if self.given == "first" else self.given)


class DoublePress(MemoryFault):
    """Every finger is read twice."""

    quirks = (27,)
    value = Value("how much later, in whole seconds", "0s", whole_seconds)

    def repeats(self) -> Iterator[timedelta]:
        yield timedelta(seconds=self.given)


class Layout(MemoryFault):
    """A firmware update changes the layout of the log's records; off, it is the old one again."""

    quirks = (15, 18, 19)
    value = Value("name of the layout", "49", ascii_text)

    def begin(self) -> None:
        self._before = self.terminal.layout
        self.terminal.change_layout(self.given)

    def end(self) -> None:
        self.terminal.change_layout(self._before)


class Users(MemoryFault):
    """The records of the user table have another length."""

    quirks = (25,)
    value = Value("bytes: 28, 72 or 120", "120", one_of("28", "72", "120"))

    def begin(self) -> None:
        self._before = self.terminal.user_stride
        self.terminal.user_stride = int(self.given)

    def end(self) -> None:
        self.terminal.user_stride = self._before


class CommKey(MemoryFault):
    """A person changes the communication key."""

    quirks = (14,)
    value = Value("the new key", "4321", up_to(999_999, 0))

    def begin(self) -> None:
        self._before, self.terminal.comm_key = self.terminal.comm_key, self.given

    def end(self) -> None:
        self.terminal.comm_key = self._before


class Serial(MemoryFault):
    """Another terminal answers at this address."""

    quirks = (36,)
    value = Value("its serial number", "SIM0000009999", ascii_text)

    def begin(self) -> None:
        self._before, self.terminal.serial = self.terminal.serial, self.given

    def end(self) -> None:
        self.terminal.serial = self._before


class RangeLies(MemoryFault):
    """Reading by time (10004) returns records that were not requested."""

    quirks = (16,)
    value = Value("all of the log, none, or half of a record", "all", one_of("all", "none", "half"))

    def between(self, found: bytes) -> bytes:
        log = self.terminal.log_body()
        return {"all": log, "none": b"", "half": log[: self.terminal.stride // 2]}[self.given]


class Disabled(MemoryFault):
    """Another program has disabled the terminal and died: no punch is possible."""

    quirks = (35,)
    lasting = False

    def begin(self) -> None:
        self.terminal.enabled = False
