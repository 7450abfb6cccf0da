"""Requests and notes in the database: what was requested, each step with its person and moment. Rows are only added."""

from collections.abc import Iterable
from datetime import date
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import BigInteger, Connection, Index, func, insert, select
from sqlmodel import Field

from central.store.engine import KEY, Row, listed, table
from central.store.numbers import unused_number

ENTERED, APPROVED, REFUSED, WITHDRAWN = "entered", "approved", "refused", "withdrawn"


class RequestRow(Row, table=True):
    """One row of a register that someone wants entered; it counts once it is approved."""

    __tablename__: ClassVar[Any] = "request"
    __table_args__: ClassVar[Any] = (Index("request_person", "person", "first"),)
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    kind: str
    """Of the register."""
    content: str
    """The row, JSON: heads of columns and texts, as in a file."""
    person: str | None = None
    """Whom it is about."""
    unit: str | None = None
    """Of that person on its first date."""
    first: str
    last: str | None = None
    requested_by: str
    """The account, or the name on the command line."""
    requester: str | None = None
    """The person behind the account."""


class StepRow(Row, table=True):
    """A step of a request; the last one is its state."""

    __tablename__: ClassVar[Any] = "request_step"
    __table_args__: ClassVar[Any] = (Index("request_step_of", "request", "number", unique=True),)
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    request: int = Field(sa_type=BigInteger, foreign_key="request.id")
    number: int
    """From 1 on; two steps at once cannot have one number."""
    what: str
    """``entered``, ``approved``, ``refused``, ``withdrawn``."""
    by: str
    at: str
    reason: str
    paper: str
    import_id: int | None = Field(default=None, sa_type=BigInteger)
    """The import that an approval made; null where the row was entered already."""


class NoteRow(Row, table=True):
    """What a superior notes, or the person answers, on a day; no verdict depends on it."""

    __tablename__: ClassVar[Any] = "day_note"
    __table_args__: ClassVar[Any] = (Index("day_note_of", "person", "date"),)
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    person: str
    date: str
    what: str
    """``note`` of a superior, ``answer`` of the person."""
    by: str
    at: str
    text: str


REQUEST, STEP, NOTE = table(RequestRow), table(StepRow), table(NoteRow)


class Request(NamedTuple):
    """A request."""

    id: int
    kind: str
    content: str
    person: str | None
    unit: str | None
    first: str
    last: str | None
    requested_by: str
    requester: str | None


class Step(NamedTuple):
    """A step of a request."""

    request: int
    number: int
    what: str
    by: str
    at: str
    reason: str
    paper: str
    import_id: int | None = None


class Note(NamedTuple):
    """A note or an answer on a day."""

    person: str
    date: str
    what: str
    by: str
    at: str
    text: str


def add(connection: Connection, values: Request, step: Step) -> int:
    """Store a request with its first step; return its number. The number in ``values`` and ``step`` is not read."""
    number = unused_number(connection, REQUEST.c.id)
    connection.execute(insert(REQUEST).values(**values._replace(id=number)._asdict()))
    add_step(connection, step._replace(request=number))
    return number


def add_step(connection: Connection, step: Step) -> None:
    """Store a step."""
    connection.execute(insert(STEP).values(**step._asdict()))


def find(connection: Connection, number: int) -> tuple[Request, list[Step]] | None:
    """Return a request with its steps in their order."""
    row = connection.execute(select(REQUEST).where(REQUEST.c.id == number)).one_or_none()
    if row is None:
        return None
    return Request(**row._mapping), _steps(connection, [number]).get(number, [])  # noqa: SLF001 - SQLAlchemy's public name


def listing(
    connection: Connection, *, what: str | None = None, people: Iterable[str] | None = None, limit: int = 1_000
) -> list[tuple[Request, list[Step]]]:
    """Return the newest requests, with their steps; those whose last step is ``what``, those about some people."""
    last = (
        select(STEP.c.request, func.max(STEP.c.number).label("number"), func.min(STEP.c.id).label("entered"))
        .group_by(STEP.c.request)
        .subquery()
    )
    query = (
        select(REQUEST)
        .join(last, last.c.request == REQUEST.c.id)
        .join(STEP, (STEP.c.request == REQUEST.c.id) & (STEP.c.number == last.c.number))
        .order_by(last.c.entered.desc())
        .limit(limit)
    )
    if what is not None:
        query = query.where(STEP.c.what == what)
    if people is not None:
        query = query.where(listed(REQUEST.c.person, people))
    found = [Request(**row._mapping) for row in connection.execute(query)]  # noqa: SLF001 - SQLAlchemy's public name
    steps = _steps(connection, [one.id for one in found])
    return [(one, steps.get(one.id, [])) for one in found]


def _steps(connection: Connection, numbers: list[int]) -> dict[int, list[Step]]:
    found: dict[int, list[Step]] = {}
    columns = [STEP.c[name] for name in Step._fields]
    query = select(*columns).where(listed(STEP.c.request, numbers)).order_by(STEP.c.request, STEP.c.number)
    for row in connection.execute(query):
        found.setdefault(row.request, []).append(Step(*row))
    return found


def add_note(connection: Connection, note: Note) -> None:
    """Store a note or an answer."""
    connection.execute(insert(NOTE).values(**note._asdict()))


def notes_of(connection: Connection, person: str, first: date, last: date) -> list[Note]:
    """Return what was noted and answered on a person's days, in the order in which it was written."""
    columns = [NOTE.c[name] for name in Note._fields]
    query = select(*columns).where(NOTE.c.person == person, NOTE.c.date.between(first.isoformat(), last.isoformat()))
    return [Note(*row) for row in connection.execute(query.order_by(NOTE.c.id))]
