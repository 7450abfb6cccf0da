"""Enters, approves, refuses and withdraws requests; the punch itself is never touched.

A request is checked as an import of its row would be, when it is entered and again when it is approved. The approval
and the entry into the register are one transaction.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.registers.importing import Paper, Preview, enter_preview, preview
from central.registers.kinds import KINDS as KINDS_OF_REGISTERS
from central.registers.problems import RegisterFileError
from central.registers.read import Scan, scan_row
from central.store import requests
from central.store.engine import utc
from central.store.registers import Registers
from central.store.requests import APPROVED, ENTERED, REFUSED, WITHDRAWN, Note, Request, Step

KINDS = ("leave", "corrections", "orders", "decisions")
"""Registers whose rows may be requested."""
MAX_TEXT = 1_000
"""Characters of a reason, a note or an answer."""
MAX_PAPER = 200
MAX_CELL = 500


class Person(NamedTuple):
    """Who acts: the account or name, and the person behind it where that is known."""

    name: str
    person: str | None = None


class RequestError(Exception):
    """A step is refused; ``code`` names the reason in :mod:`central.requests.messages`, with its values."""

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


class Subject(NamedTuple):
    """Whom and which dates a request is about."""

    person: str | None
    unit: str | None
    first: date
    last: date | None


def subject_of(connection: Connection, kind: str, row: Mapping[str, str]) -> Subject:
    """Return whom a row is about; raises RequestError or RegisterFileError where it cannot be read."""
    scan = _scan(kind, row, "request", Paper("request", "request"))
    scan.problems.raise_if_any()
    if len(scan.lines) != 1:
        raise RequestError("request_one_row")
    record: Any = scan.lines[0].record
    first = getattr(record, "since", None) or record.date
    last = getattr(record, "until", first)
    person = getattr(record, "person", None)
    unit = None
    if person is not None:
        rows = Registers(connection).rows("people", [f"person:{person}"], first, first)
        unit = rows[-1].record.unit if rows else None
    return Subject(person, unit, first, last)


def enter(
    connection: Connection,
    policies: OfficePolicies,
    kind: str,
    row: Mapping[str, str],
    by: Person,
    reason: str,
    now: datetime,
) -> int:
    """Store a request; return its number. Raises RequestError, and RegisterFileError where its row has a mistake."""
    _check_text(reason, "request_reason", MAX_TEXT)
    subject = subject_of(connection, kind, row)
    preview(connection, _scan(kind, row, "request", Paper(by.name, "request")), policies)
    content = json.dumps(dict(row), ensure_ascii=False)
    last = None if subject.last is None else subject.last.isoformat()
    given = Request(0, kind, content, subject.person, subject.unit, subject.first.isoformat(), last, *by)
    return requests.add(connection, given, Step(0, 1, ENTERED, by.name, utc(now), reason.strip(), ""))


def approve(
    connection: Connection,
    policies: OfficePolicies,
    number: int,
    by: Person,
    paper: str,
    reason: str,
    now: datetime,
) -> Preview:
    """Approve a request and enter its row; return what that changed.

    Raises RequestError where it does not wait any more or is the approver's own, and RegisterFileError where its row
    has a mistake by now.
    """
    _check_text(paper, "request_paper", MAX_PAPER)
    if reason:
        _check_text(reason, "request_reason", MAX_TEXT)
    found, steps = _waiting(connection, number)
    _refuse_own(found, by)
    given = Paper(by.name, paper.strip())
    scan = _scan(found.kind, json.loads(found.content), f"request-{number}", given)
    seen = preview(connection, scan, policies)
    entered = enter_preview(connection, scan, seen, given, now)
    import_id = None if entered is None else entered.number
    step = Step(number, len(steps) + 1, APPROVED, by.name, utc(now), reason.strip(), paper.strip(), import_id)
    requests.add_step(connection, step)
    return seen


def refuse(connection: Connection, number: int, by: Person, reason: str, now: datetime) -> None:
    """Refuse a request, with a reason; raises RequestError."""
    _check_text(reason, "request_reason", MAX_TEXT)
    found, steps = _waiting(connection, number)
    _refuse_own(found, by)
    requests.add_step(connection, Step(number, len(steps) + 1, REFUSED, by.name, utc(now), reason.strip(), ""))


def withdraw(connection: Connection, number: int, by: Person, reason: str, now: datetime) -> None:
    """Withdraw one's own request while it waits; raises RequestError."""
    _check_text(reason, "request_reason", MAX_TEXT)
    found, steps = _waiting(connection, number)
    if found.requested_by != by.name:
        raise RequestError("request_not_own", number=number)
    requests.add_step(connection, Step(number, len(steps) + 1, WITHDRAWN, by.name, utc(now), reason.strip(), ""))


def note(connection: Connection, person: str, on: date, what: str, by: str, text: str, now: datetime) -> None:
    """Store a superior's note (``note``) or the person's answer (``answer``) on a day; raises RequestError."""
    _check_text(text, "request_text", MAX_TEXT)
    requests.add_note(connection, Note(person, on.isoformat(), what, by, utc(now), text.strip()))


def row_of(request: Request) -> dict[str, str]:
    """Return the row of a request: heads of columns and texts, as they were entered."""
    found: dict[str, str] = json.loads(request.content)
    return found


def _waiting(connection: Connection, number: int) -> tuple[Request, list[Step]]:
    found = requests.find(connection, number)
    if found is None:
        raise RequestError("request_unknown", number=number)
    last = found[1][-1]
    if last.what != ENTERED:
        raise RequestError(f"request_{last.what}", number=number, by=last.by, at=last.at)
    return found


def _refuse_own(found: Request, by: Person) -> None:
    """Refuse a decision on one's own request: by the account, by another account of its person, or about oneself."""
    own = by.name == found.requested_by or (by.person is not None and by.person in (found.requester, found.person))
    if own:
        raise RequestError("request_own", number=found.id)


def _scan(kind: str, row: Mapping[str, str], name: str, paper: Paper) -> Scan:
    """Read a row; where the register has columns for them, name and paper are those of whoever decides."""
    if kind not in KINDS:
        raise RequestError("request_kind", kind=kind, kinds=", ".join(KINDS))
    for head, text in row.items():
        if len(text) > MAX_CELL:
            raise RequestError("request_cell", column=head, most=MAX_CELL)
    filled = {head: text for head, text in row.items() if text.strip()}
    own = {column.name for column in KINDS_OF_REGISTERS[kind].columns}
    filled |= {head: text for head, text in paper._asdict().items() if head in own}
    return scan_row(filled, kind, name)


def _check_text(text: str, code: str, most: int) -> None:
    if not text.strip() or len(text) > most or not text.replace("\n", " ").replace("\r", " ").isprintable():
        raise RequestError(code, most=most)


__all__ = [
    "KINDS",
    "MAX_TEXT",
    "Person",
    "RegisterFileError",
    "RequestError",
    "Subject",
    "approve",
    "enter",
    "note",
    "refuse",
    "subject_of",
    "withdraw",
]
