"""The registers in the database: what was entered, when, by whom and on which paper. Nothing is changed or deleted.

Every row states something for dates, its first date of two; ``entered`` is the second: since when it is known here. Of
rows with one kind and identity the last entered counts, and a withdrawn one states nothing. Asked as known at a
moment, only rows entered until then exist.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from itertools import islice
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    Index,
    Select,
    bindparam,
    exists,
    func,
    insert,
    or_,
    select,
)
from sqlmodel import Field

from central.registers.statements import LONGEST_DAYS, VERSIONED, Statement, records_of
from central.store.engine import KEY, Row, in_list, json_list, listed, table, utc

BATCH = 5_000
"""Keys in one statement; SQLite takes 32,766 values, PostgreSQL 65,535."""


class RegisterImport(Row, table=True):
    """One file that was imported."""

    __tablename__: ClassVar[Any] = "register_import"
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    kind: str
    file: str
    """The file's name without its folder."""
    sha256: str
    by: str
    paper: str
    entered: str
    """UTC, YYYY-MM-DDTHH:MM:SS.mmmZ; grows with every import."""
    clock: str | None = None
    """What the clock showed, where it was behind an earlier import."""
    rows: int
    """How many rows of the register the file made."""
    withdrawn: bool
    """Whether the file took statements back."""


class RegisterRow(Row, table=True):
    """One statement as it was entered; never updated, never deleted."""

    __tablename__: ClassVar[Any] = "register_row"
    __table_args__: ClassVar[Any] = (
        Index("register_row_identity", "kind", "identity", "id"),
        Index("register_row_subject", "subject", "kind", "valid_from"),
        Index("register_row_other", "other", "kind", "valid_from"),
    )
    id: int | None = Field(default=None, sa_type=KEY, primary_key=True)
    import_id: int = Field(sa_type=BigInteger, foreign_key="register_import.id")
    kind: str
    identity: str
    subject: str
    other: str | None = None
    valid_from: str
    valid_until: str | None = None
    content: str
    withdrawn: bool = False
    """Whether this takes back what the identity stated before."""
    entered: str


IMPORT = table(RegisterImport)
ROW = table(RegisterRow)
_LATER = ROW.alias("later")
_STATEMENT = (
    ROW.c.kind,
    ROW.c.identity,
    ROW.c.subject,
    ROW.c.other,
    ROW.c.valid_from,
    ROW.c.valid_until,
    ROW.c.content,
)
"""The columns of a :class:`central.registers.statements.Statement`, in its order."""
DATES = 20_000
"""Texts of dates whose values are kept."""
T = TypeVar("T")


class Source(NamedTuple):
    """Where a statement is from."""

    by: str
    paper: str
    entered: str
    file: str


class Stated:
    """A statement that counts, with where it is from."""

    __slots__ = ("_records", "_source", "id", "since", "statement", "until")

    def __init__(self, number: int, statement: Statement, source: Source) -> None:
        self.id = number
        self.statement = statement
        """Its ``until`` is the last valid date also of a version, which ends where the next one begins."""
        self.since: date = statement.since
        self.until: date | None = statement.until
        self._source = source
        self._records: tuple[Any, ...] | None = None

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same row, valid until the same date."""
        return isinstance(other, Stated) and (self.id, self.statement) == (other.id, other.statement)

    def __hash__(self) -> int:
        """Return the hash of its number."""
        return hash(self.id)

    @property
    def by(self) -> str:
        """Return who entered it."""
        return self._source.by

    @property
    def paper(self) -> str:
        """Return on which paper."""
        return self._source.paper

    @property
    def entered(self) -> str:
        """Return when."""
        return self._source.entered

    @property
    def file(self) -> str:
        """Return the name of the file that it stands in."""
        return self._source.file

    @property
    def records(self) -> tuple[Any, ...]:
        """Return its records, dataclasses of :mod:`central.registers.kinds`."""
        found = self._records
        if found is None:
            found = self._records = records_of(self.statement.kind, self.statement.content)
        return found

    @property
    def record(self) -> Any:
        """Return the first record, the only one but of timetables, schedules and calendar."""
        return (self._records or self.records)[0]

    def ended(self, until: date) -> "Stated":
        """Return it as valid until a date."""
        return Stated(self.id, self.statement._replace(until=until), self._source)


class Registers:
    """Reads what counts, on a connection of the caller's transaction; as known at a moment, or now."""

    def __init__(self, connection: Connection, known_at: datetime | None = None) -> None:
        self._connection = connection
        self._known_at = None if known_at is None else utc(known_at)
        self._values = {} if known_at is None else {"known_at": self._known_at}
        self._sources: dict[int, Source] = {}

    def rows(
        self,
        kind: str,
        keys: Iterable[str] | None = None,
        first: date | None = None,
        last: date | None = None,
        *,
        by: Literal["subject", "other"] = "subject",
    ) -> list[Stated]:
        """Return the rows of a kind valid on any date from ``first`` to ``last``, by subject, first date and id.

        ``keys`` are looked up as the statements' subject, or as their other key; None: all rows.
        """
        return self.rows_of_kinds([kind], keys, first, last, by=by)[kind]

    def rows_of_kinds(
        self,
        kinds: Iterable[str],
        keys: Iterable[str] | None,
        first: date | None,
        last: date | None,
        *,
        by: Literal["subject", "other"] = "subject",
    ) -> dict[str, list[Stated]]:
        """Return what :meth:`rows` does of each kind; kinds whose dates are looked up alike are read together."""
        found: dict[str, list[Stated]] = {kind: [] for kind in kinds}
        groups: dict[tuple[bool, int | None], list[str]] = {}
        for kind in found:
            groups.setdefault((kind in VERSIONED, LONGEST_DAYS.get(kind)), []).append(kind)
        column = None if keys is None else by
        values = {} if keys is None else {"keys": json_list(keys)}
        for (versioned, longest), group in groups.items():
            dated = not versioned and last is not None, not versioned and first is not None
            if last is not None:
                values["last"] = last.isoformat()
            if first is not None:
                values["first"] = first.isoformat()
                values["earliest"] = _earlier(first, longest or 0).isoformat()
            query = _valid_rows(tuple(group), column, *dated, longest is not None, self._known_at is not None)
            for row in self._read(query, values):
                found[row.statement.kind].append(row)
        for kind, rows in found.items():
            rows.sort(key=_order)
            if kind in VERSIONED:
                found[kind] = [
                    row
                    for row in _versions(rows)
                    if (last is None or row.since <= last)
                    and (first is None or row.until is None or row.until >= first)
                ]
        return found

    def statements(self, kind: str, keys: Iterable[str]) -> list[Statement]:
        """Return what a kind that has no versions states of subjects, on whatever dates, by first date.

        It takes one look-up, also where nothing is stated: how long it takes does not say whether a subject exists.
        """
        named = listed(ROW.c.subject, keys)
        query = self._last(ROW.c.id, *_STATEMENT).where(~ROW.c.withdrawn, ROW.c.kind == kind, named)
        found = []
        for _id, one, identity, subject, other, since, until, content in self._connection.execute(
            query.order_by(ROW.c.valid_from, ROW.c.id), self._values
        ):
            last = None if until is None else date.fromisoformat(until)
            found.append(Statement(one, identity, subject, other, date.fromisoformat(since), last, content))
        return found

    def with_units_below(self, unit: str, first: date, last: date) -> set[str]:
        """Return the keys of a unit and of those that are below it on any of the dates."""
        found, new = set[str](), {unit}
        while new:
            found |= new
            below = self.rows("units", sorted(f"unit:{key}" for key in new), first, last, by="other")
            new = {row.record.key for row in below} - found
        return found

    def of_identities(self, kind: str, identities: Iterable[str]) -> dict[str, Stated]:
        """Return the rows of a kind that count, by identity."""
        named = listed(ROW.c.identity, identities)
        return {row.statement.identity: row for row in self._counting(ROW.c.kind == kind, named)}

    def withdrawn(self, kind: str, identities: Iterable[str]) -> dict[str, str]:
        """Return the identities of which the last row took the statement back, with the content taken back."""
        statement = self._last(ROW.c.identity, ROW.c.content).where(
            ROW.c.kind == kind, ROW.c.withdrawn, listed(ROW.c.identity, identities)
        )
        return {row.identity: row.content for row in self._connection.execute(statement, self._values)}

    def known(self, kind: str, subjects: Iterable[str]) -> set[str]:
        """Return those of the subjects of which a kind states anything, for whatever dates."""
        statement = self._last(ROW.c.subject).distinct()
        named = listed(ROW.c.subject, subjects)
        statement = statement.where(ROW.c.kind == kind, ~ROW.c.withdrawn, named)
        return set(self._connection.execute(statement, self._values).scalars())

    def containing(self, kind: str, text: str) -> list[Stated]:
        """Return the rows of a kind whose content holds a text, in capitals or not."""
        return list(
            self._counting(ROW.c.kind == kind, func.lower(ROW.c.content).contains(text.lower(), autoescape=True))
        )

    def at_place(self, kind: str, place: str) -> list[Stated]:
        """Return the rows about PINs at ``terminal:SERIAL`` or ``site:S``, by PIN, whatever their dates."""
        found = {}
        for column in (ROW.c.subject, ROW.c.other):
            for row in self._counting(ROW.c.kind == kind, column.startswith(f"{place} ", autoescape=True)):
                key = next(
                    (
                        key
                        for key in (row.statement.subject, row.statement.other)
                        if key and key.startswith(f"{place} ")
                    ),
                    None,
                )
                if key is not None:  # LIKE does not see capitals everywhere
                    found[row.id] = (key, row)
        return [row for _, row in sorted(found.values(), key=lambda item: (item[0], item[1].since))]

    def mentioning(self, keys: Iterable[str]) -> list[Stated]:
        """Return the rows of all kinds that have one of the keys as their subject or other key."""
        named = list(keys)
        return [row for column in (ROW.c.subject, ROW.c.other) for row in self._counting(listed(column, named))]

    def _last(self, *columns: Any) -> Select[Any]:
        """Return the selection of the rows that are the last of their identity."""
        return _last_of(*columns, known=self._known_at is not None)

    def _counting(self, *conditions: ColumnElement[bool]) -> Iterator[Stated]:
        query = self._last(ROW.c.id, ROW.c.import_id, *_STATEMENT).where(~ROW.c.withdrawn, *conditions)
        return self._read(query, {})

    def _read(self, query: Select[Any], values: Mapping[str, Any]) -> Iterator[Stated]:
        rows = self._connection.execute(query, {**values, **self._values}).all()
        sources = self._sources_of({row[1] for row in rows})
        for number, entry, kind, identity, subject, other, since, until, content in rows:
            last = None if until is None else _date(until)
            statement = Statement(kind, identity, subject, other, _date(since), last, content)
            yield Stated(number, statement, sources[entry])

    def _sources_of(self, entries: set[int]) -> dict[int, Source]:
        """Return where the statements of imports are from; an import is read once, however many rows it has."""
        if new := entries - self._sources.keys():
            for number, *source in self._connection.execute(_SOURCES, {"imports": json_list(new)}):
                self._sources[number] = Source(*source)
        return self._sources


_SOURCES = select(IMPORT.c.id, IMPORT.c.by, IMPORT.c.paper, IMPORT.c.entered, IMPORT.c.file).where(
    in_list(IMPORT.c.id, "imports")
)
_date = lru_cache(DATES)(date.fromisoformat)


def _last_of(*columns: Any, known: bool) -> Select[Any]:
    """Return the selection of the rows that are the last of their identity; ``known``: at the moment ``known_at``."""
    later = [_LATER.c.kind == ROW.c.kind, _LATER.c.identity == ROW.c.identity, _LATER.c.id > ROW.c.id]
    if not known:
        return select(*columns).where(~exists().where(*later))
    moment: BindParameter[str] = bindparam("known_at")
    return select(*columns).where(ROW.c.entered <= moment, ~exists().where(*later, _LATER.c.entered <= moment))


@cache
def _valid_rows(
    kinds: tuple[str, ...],
    by: str | None,
    until_last: bool,
    since_first: bool,
    ending: bool,
    known: bool,
) -> Select[Any]:
    """Return the statement that reads rows of kinds valid on dates; made once, so that SQLAlchemy looks at it once.

    ``ending``: each of them ends a known number of days after its first date, at the latest.
    """
    conditions: list[ColumnElement[bool]] = [ROW.c.kind.in_(kinds)]
    if by is not None:
        conditions.append(in_list(ROW.c[by], "keys"))
    if until_last:
        conditions.append(ROW.c.valid_from <= bindparam("last"))
    if since_first:
        if ending:
            conditions.append(ROW.c.valid_from >= bindparam("earliest"))
        conditions.append(or_(ROW.c.valid_until.is_(None), ROW.c.valid_until >= bindparam("first")))
    query = _last_of(ROW.c.id, ROW.c.import_id, *_STATEMENT, known=known)
    return query.where(~ROW.c.withdrawn, *conditions)


class Entry(NamedTuple):
    """What is entered about one file."""

    kind: str
    file: str
    sha256: str
    by: str
    paper: str
    withdrawn: bool


class Entered(NamedTuple):
    """That a file was entered: its number, and when."""

    number: int
    moment: str
    clock: str | None
    """What the clock showed, where it was behind an earlier import."""


def enter(connection: Connection, entry: Entry, statements: Sequence[Statement], now: datetime) -> Entered:
    """Store statements, or that they no longer hold; in the caller's writing transaction.

    Moments of entry never run backwards: an import while the clock is behind the last one is entered a millisecond
    after that, and what the clock showed is kept beside it.
    """
    moment, clock = _moment(connection, now)
    values = {**entry._asdict(), "entered": moment, "clock": clock, "rows": len(statements)}
    number = connection.execute(insert(IMPORT).values(values).returning(IMPORT.c.id)).scalar_one()
    for batch in _batches(statements):
        connection.execute(
            insert(ROW),
            [
                {
                    "import_id": number,
                    "kind": one.kind,
                    "identity": one.identity,
                    "subject": one.subject,
                    "other": one.other,
                    "valid_from": one.since.isoformat(),
                    "valid_until": None if one.until is None else one.until.isoformat(),
                    "content": one.content,
                    "withdrawn": entry.withdrawn,
                    "entered": moment,
                }
                for one in batch
            ],
        )
    return Entered(number, moment, clock)


def last_row(connection: Connection) -> int:
    """Return the id of the row that was entered last, 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(ROW.c.id), 0))).scalar_one())


def _moment(connection: Connection, now: datetime) -> tuple[str, str | None]:
    shown = utc(now)
    last = connection.execute(select(func.max(IMPORT.c.entered))).scalar_one()
    if last is None or last < shown:
        return shown, None
    following = utc(datetime.fromisoformat(last) + timedelta(milliseconds=1))
    return following, shown


def _order(row: Stated) -> tuple[str, date, int]:
    return row.statement.subject, row.statement.since, row.id


def _earlier(day: date, days: int) -> date:
    return date.fromordinal(max(day.toordinal() - days, 1))


def _versions(rows: Iterable[Stated]) -> Iterator[Stated]:
    """Let each version end where the next one of its subject begins; rows are in order of subject and date."""
    before: Stated | None = None
    for row in rows:
        if before is not None:
            follows = row.statement.subject == before.statement.subject
            yield before.ended(row.since - timedelta(days=1)) if follows else before
        before = row
    if before is not None:
        yield before


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        yield batch
