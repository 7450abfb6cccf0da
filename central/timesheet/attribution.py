"""Attribution: whose a punch is, by dated enrolments, whenever they were entered. Pure.

A terminal's own enrolment of a PIN goes before that of its site. A punch is dated by the terminal's clock.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple, Protocol

from central.registers.kinds import Enrolment


class EnrolmentRow(Protocol):
    """A row of the register of enrolments."""

    @property
    def record(self) -> Enrolment:
        """Return what it states."""

    @property
    def since(self) -> date:
        """Return the first valid date."""

    @property
    def until(self) -> date | None:
        """Return the last valid date, None without end."""


class Reader(NamedTuple):
    """Where a PIN was read: a terminal by its serial number, at a site."""

    serial: str
    site: str


class PinUse(NamedTuple):
    """How often a PIN was read at a terminal on one date of the terminal's clock."""

    reader: Reader
    pin: str
    on: date
    punches: int
    first: str
    """The first of its local times, ISO."""
    last: str


class UnknownPin(NamedTuple):
    """A PIN without a person at a terminal when it was read, with all such uses."""

    reader: Reader
    pin: str
    punches: int
    first: str
    last: str
    days: int
    """On how many dates."""


class Enrolments:
    """Answers whose a PIN is at a terminal on a date."""

    def __init__(self, rows: Iterable[EnrolmentRow]) -> None:
        self._at_terminal: dict[tuple[str, str], list[EnrolmentRow]] = {}
        self._at_site: dict[tuple[str, str], list[EnrolmentRow]] = {}
        for row in rows:
            one = row.record
            if one.terminal is not None:
                self._at_terminal.setdefault((one.terminal, one.pin), []).append(row)
            elif one.site is not None:
                self._at_site.setdefault((one.site, one.pin), []).append(row)

    def person(self, reader: Reader, pin: str, on: date) -> str | None:
        """Return the person who had a PIN at a terminal on a date; None where no person had it."""
        found = _valid(self._at_terminal.get((reader.serial, pin), ()), on)
        if found is None:
            found = _valid(self._at_site.get((reader.site, pin), ()), on)
        return None if found is None else found.person


def _valid(rows: Iterable[EnrolmentRow], on: date) -> Enrolment | None:
    """Return the enrolment of a date; of several, which imports refuse, the one that began last."""
    best: EnrolmentRow | None = None
    for row in rows:
        if on < row.since or (row.until is not None and on > row.until):
            continue
        if best is None or (row.since, row.record.person) > (best.since, best.record.person):
            best = row
    return None if best is None else best.record


def unknown_pins(uses: Iterable[PinUse], enrolments: Enrolments) -> list[UnknownPin]:
    """Return the PINs without a person when they were read, by terminal and PIN."""
    found: dict[tuple[Reader, str], UnknownPin] = {}
    for use in _unattributed(uses, enrolments):
        before = found.get((use.reader, use.pin), UnknownPin(use.reader, use.pin, 0, use.first, use.last, 0))
        found[use.reader, use.pin] = before._replace(
            punches=before.punches + use.punches,
            first=min(before.first, use.first),
            last=max(before.last, use.last),
            days=before.days + 1,
        )
    return [found[key] for key in sorted(found)]


def _unattributed(uses: Iterable[PinUse], enrolments: Enrolments) -> Iterator[PinUse]:
    return (use for use in uses if enrolments.person(use.reader, use.pin, use.on) is None)
