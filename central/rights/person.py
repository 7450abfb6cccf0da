"""A person's own data as one file: everything the centre holds about the person, for programs and for reading."""

import html
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from sqlalchemy import Connection

from central.policy.office import OfficePolicies
from central.reports.explained import explained
from central.reports.why import explain
from central.rights.messages import message
from central.store import deleting, personal, retention
from central.store.engine import utc
from central.store.registers import Registers
from central.store.requests import Request, Step
from central.store.retention import Hold
from central.texts import Language
from central.timesheet.attribution import Enrolments, Reader

FORMAT = "hadir-person-1"
SUFFIXES = (".json", ".html", ".zip")
"""Of the file: for programs, for reading, or both in one."""
SECTIONS = (
    "registers",
    "punches",
    "verdicts",
    "totals",
    "requests",
    "notes",
    "accesses",
    "holds",
    "deletions",
)
_STYLE = (
    "body{font-family:sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse;margin:.5em 0 2em}"
    "td,th{border:1px solid #999;padding:.2em .5em;text-align:left;vertical-align:top}"
    "pre{white-space:pre-wrap;margin:0}"
)


def collect(connection: Connection, person: str, by: str, now: datetime) -> dict[str, Any]:
    """Return all that is held about a person by key; the parts of it are those of :data:`SECTIONS`."""
    settled = retention.settled_until(connection)
    units = personal.units_of(connection, person)
    names = Registers(connection).rows("people", [f"person:{person}"])
    return {
        "format": FORMAT,
        "person": person,
        "name": names[-1].record.name if names else None,
        "made": utc(now),
        "by": by,
        "never_judged_again_until": None if settled is None else settled.isoformat(),
        "registers": [
            {**one._asdict(), "content": json.loads(one.content)} for one in personal.registers_of(connection, person)
        ],
        "punches": list(_punches(connection, person)),
        "verdicts": [
            {
                **one._asdict(),
                "date": one.date.isoformat(),
                "content": json.loads(one.content),
                "changed": json.loads(one.changed),
                "cause": json.loads(one.cause),
            }
            for one in personal.revisions_of(connection, person)
        ],
        "totals": [
            {**one._asdict(), "content": json.loads(one.content), "revisions": json.loads(one.revisions)}
            for one in personal.totals_of(connection, person)
        ],
        "requests": [_request(one, steps, person) for one, steps in personal.requests_of(connection, person)],
        "notes": [one._asdict() for one in personal.notes_of(connection, person)],
        "accesses": [one._asdict() for one in personal.looks_at(connection, person, units)],
        "holds": [_hold(one) for one in retention.holds(connection) if _concerns(one, person, units)],
        "deletions": [
            {"number": one.number, "at": one.at, "kind": one.kind, "until": one.until.isoformat(), "paper": one.paper}
            for one in retention.deletions(connection)
        ],
    }


def _punches(connection: Connection, person: str) -> Iterator[dict[str, Any]]:
    """Yield the punches that were the person's when they were read, with the events that hold them."""
    pins = deleting.pins_ever_of(connection, [person])
    enrolments = Enrolments(Registers(connection).rows("enrolments"))
    for one in personal.punches_with(connection, sorted(pins)):
        on = date.fromisoformat(one.local_time[:10])
        if enrolments.person(Reader(one.serial, one.site), one.pin, on) == person:
            place = {"id": one.id, "site": one.site, "stream": one.stream, "sequence": one.sequence}
            yield {"local_time": one.local_time, "pin": one.pin, "serial": one.serial, **place} | _event(one.body)


def _request(request: Request, steps: Sequence[Step], person: str) -> dict[str, Any]:
    """Return a request; of one about others, that the person's account entered it, and nothing about them."""
    found = {**request._asdict(), "content": json.loads(request.content), "steps": [step._asdict() for step in steps]}
    if request.person not in (person, None):
        found |= {"content": {}, "person": None, "unit": None, "first": None, "last": None}
        found["steps"] = [step._replace(reason="", paper="")._asdict() for step in steps]
    return found


def _event(body: str) -> dict[str, Any]:
    try:
        return {"event": json.loads(body)}
    except ValueError:
        return {"event": None}


def _concerns(hold: Hold, person: str, units: set[str]) -> bool:
    return hold.everybody or person in hold.people or not units.isdisjoint(hold.units)


def _hold(hold: Hold) -> dict[str, Any]:
    lifted = None if hold.lifted is None else hold.lifted.at
    return {
        "number": hold.number,
        "at": hold.at,
        "case": hold.case,
        "by": hold.by,
        "paper": hold.paper,
        "lifted": lifted,
    }


def readable(
    connection: Connection, data: Mapping[str, Any], policies: OfficePolicies, now: datetime, language: Language
) -> str:
    """Return the data as a page of HTML that a browser shows without anything else."""
    dates = sorted({one["date"] for one in data["verdicts"]})
    parts = [f"<h1>{_text(message('export_title', language, person=data['name'] or data['person']))}</h1>"]
    parts.append(f"<p>{_text(message('export_about', language, made=data['made'], by=data['by']))}</p>")
    if data["never_judged_again_until"]:
        parts.append(f"<p>{_text(message('export_settled', language, until=data['never_judged_again_until']))}</p>")
    for section in SECTIONS:
        parts.append(f"<h2>{_text(message(f'export_{section}', language))}</h2>")
        if not data[section]:
            parts.append(f"<p>{_text(message('export_none', language))}</p>")
        elif section == "verdicts":
            for on in dates:
                found = explained(connection, data["person"], date.fromisoformat(on), policies, None, now)
                parts.append(f"<pre>{_text(chr(10).join(explain(found, language)))}</pre><hr>")
        else:
            parts.append(_table(data[section]))
    title = _text(message("export_title", language, person=data["name"] or data["person"]))
    head = f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
    return f"{head}<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = list(dict.fromkeys(head for row in rows for head in row if head != "event"))
    lines = ["".join(f"<th>{_text(head.replace('_', ' '))}</th>" for head in heads)]
    lines += ["".join(f"<td>{_cell(row.get(head))}</td>" for head in heads) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return "<br>".join(_cell(one) for one in value)
    if isinstance(value, dict):
        return "<br>".join(f"{_text(key)}: {_cell(one)}" for key, one in value.items() if one not in (None, "", [], {}))
    return _text(str(value))


def _text(text: str) -> str:
    return html.escape("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text))


def contents(path: Path, data: Mapping[str, Any], page: str) -> bytes:
    """Return what the file holds, by the end of its name."""
    plain = (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
    if path.suffix == ".json":
        return plain
    if path.suffix == ".html":
        return page.encode("utf-8", "backslashreplace")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("person.json", plain)
        archive.writestr("person.html", page.encode("utf-8", "backslashreplace"))
    return packed.getvalue()


def write_new(path: Path, content: bytes) -> None:
    """Write a file that did not exist, for its owner alone, whole or not at all; raises OSError."""
    descriptor, name = mkstemp(prefix=f".{path.name[:50]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)  # unlike a rename it replaces nothing
    finally:
        with suppress(OSError):
            Path(name).unlink()
