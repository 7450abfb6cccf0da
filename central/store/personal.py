"""All that the database holds about one person, for the person's own right to it."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple

from sqlalchemy import Connection, or_, select

from central.store import recorded, requests, results
from central.store.accesses import ACCESS
from central.store.bodies import EVER
from central.store.closings import ADJUSTMENT, CLOSED
from central.store.engine import listed
from central.store.recorded import Held
from central.store.registers import IMPORT, ROW
from central.store.requests import REQUEST, Note, Request, Step
from central.store.results import RESULT, Revision


class Entered(NamedTuple):
    """A row of a register as it was entered, also where it was withdrawn or replaced later."""

    kind: str
    valid_from: str
    valid_until: str | None
    content: str
    withdrawn: bool
    entered: str
    by: str
    paper: str
    file: str


class Total(NamedTuple):
    """A closed period, or what became known of it later."""

    what: str
    """``closed`` or ``adjustment``."""
    closing: int
    first: str
    last: str
    unit: str | None
    content: str
    revisions: str


class Look(NamedTuple):
    """A line of the access log."""

    at: str
    account: str
    role: str
    address: str
    what: str
    unit: str | None
    first: str | None
    last: str | None
    refused: bool


def registers_of(connection: Connection, person: str) -> list[Entered]:
    """Return every row of every register about a person, in the order in which they were entered."""
    subject = f"person:{person}"
    columns = ROW.c.kind, ROW.c.valid_from, ROW.c.valid_until, ROW.c.content, ROW.c.withdrawn, ROW.c.entered
    query = (
        select(*columns, IMPORT.c.by, IMPORT.c.paper, IMPORT.c.file)
        .join(IMPORT, IMPORT.c.id == ROW.c.import_id)
        .where(or_(ROW.c.subject == subject, ROW.c.other == subject))
        .order_by(ROW.c.id)
    )
    return [Entered(*row) for row in connection.execute(query)]


def units_of(connection: Connection, person: str) -> set[str]:
    """Return the units that a person was ever entered as belonging to, and those above them."""
    query = select(ROW.c.other).where(ROW.c.kind == "people", ROW.c.subject == f"person:{person}")
    found, new = set[str](), {other for other in connection.execute(query).scalars() if other}
    while new:
        found |= new
        above = select(ROW.c.other).where(ROW.c.kind == "units", listed(ROW.c.subject, new))
        new = {other for other in connection.execute(above).scalars() if other} - found
    return {key.removeprefix("unit:") for key in found}


def punches_with(connection: Connection, pins: Iterable[str]) -> list[Held]:
    """Return all punches of PINs, wherever they were read, in order of time."""
    return sorted(recorded.punches_of(connection, pins, -EVER, EVER), key=lambda one: (one.instant, one.id))


def revisions_of(connection: Connection, person: str) -> list[Revision]:
    """Return every revision of every verdict on a person, by date."""
    dates = select(RESULT.c.date).where(RESULT.c.person == person).distinct().order_by(RESULT.c.date)
    found: list[Revision] = []
    for on in connection.execute(dates).scalars():
        found += results.history(connection, person, date.fromisoformat(on))
    return found


def totals_of(connection: Connection, person: str) -> list[Total]:
    """Return the closed periods of a person and their adjustments."""
    closed = select(CLOSED).where(CLOSED.c.person == person).order_by(CLOSED.c.first)
    found = [
        Total("closed", row.closing, row.first, row.last, row.unit, row.content, row.revisions)
        for row in connection.execute(closed)
    ]
    later = select(ADJUSTMENT).where(ADJUSTMENT.c.person == person).order_by(ADJUSTMENT.c.id)
    return found + [
        Total("adjustment", row.closing, row.first, row.last, row.unit, row.content, row.revisions)
        for row in connection.execute(later)
    ]


def requests_of(connection: Connection, person: str) -> list[tuple[Request, list[Step]]]:
    """Return the requests about a person, and those that the person's accounts entered, with their steps."""
    query = select(REQUEST.c.id).where(or_(REQUEST.c.person == person, REQUEST.c.requester == person))
    numbers = connection.execute(query.order_by(REQUEST.c.first, REQUEST.c.id)).scalars().all()
    return [found for number in numbers if (found := requests.find(connection, number)) is not None]


def notes_of(connection: Connection, person: str) -> list[Note]:
    """Return what was noted and answered on a person's days."""
    return requests.notes_of(connection, person, date.min, date.max)


def looks_at(connection: Connection, person: str, units: Iterable[str]) -> Iterator[Look]:
    """Yield the lines of the access log that name a person, or a unit that may have shown the person."""
    columns = [ACCESS.c[name] for name in Look._fields]
    query = select(*columns).where(
        or_(ACCESS.c.person == person, (ACCESS.c.person.is_(None)) & listed(ACCESS.c.unit, units))
    )
    for row in connection.execute(query.order_by(ACCESS.c.id)):
        yield Look(*row)._replace(refused=bool(row.refused))
