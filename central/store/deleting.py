"""Deletes what retention no longer keeps: the only statements that remove or empty rows of evidence.

Each function works in the caller's writing transaction, which also stores the deletion, see
:mod:`central.store.retention`: a kill leaves both or neither. What is left of an event is its place, id, digest, link
and type, and in place of its content the number of the deletion with the times that the extent of a gap is computed
from. A punch leaves its table.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    case,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    update,
)

from central.json_text import dump_json, load_json
from central.store.accesses import ACCESS
from central.store.closings import CLOSED, CLOSING
from central.store.engine import encode, listed
from central.store.mails import MAIL
from central.store.marks import AFFECTED, AWAITED, DUE
from central.store.outbox import OUTBOX
from central.store.outcomes import OUTCOME
from central.store.recorded import UNATTRIBUTED
from central.store.registers import ROW
from central.store.requests import ENTERED, NOTE, REQUEST, STEP
from central.store.results import RESULT
from central.store.retention import STUB, access_begin, digest_of, identifying, settled_until
from central.store.sessions import SESSION
from central.store.tables import claims, events, punches, rejected, rejected_counted, streams, unproven

PUNCH = "hadir.punch.recorded.v1"
WITH_PINS = (PUNCH, "hadir.record.quarantined.v1", "hadir.punch.confirmed.v1", "hadir.punch.unconfirmed.v1")
"""Types of events whose content is about a person."""


class Held(NamedTuple):
    """Of whom nothing is deleted."""

    everybody: bool = False
    people: frozenset[str] = frozenset()
    pins: frozenset[str] = frozenset()
    """PINs with which any of them was ever enrolled, ``uid:N`` where the terminal gave none."""
    of_others: frozenset[str] = frozenset()
    """PINs with which only others were ever enrolled; all further ones may be anybody's."""

    @property
    def any(self) -> bool:
        """Return whether any hold is in force: what cannot be attributed to a person is kept then."""
        return self.everybody or bool(self.people)


class Taken(NamedTuple):
    """What one transaction deletes, or would delete."""

    rows: int
    held: int = 0
    """Rows that are due and are kept because of a hold."""
    digest: str = ""
    after: int | None = None
    """Where the next transaction begins; None: nothing is left."""
    last: tuple[int, str] | None = None
    """Of the access log: number and digest of the last row."""


def next_day(until: date) -> str:
    """Return the first moment after a date, as columns with times compare with it."""
    return (until + timedelta(days=1)).isoformat()


# --- events -------------------------------------------------------------------------------------------------------


class _Due(NamedTuple):
    key: int
    stream: str
    sequence: int
    id: str
    digest: str
    body: str
    punch: str | None


def events_due(
    connection: Connection, until: date, held: Held, *, after: int = 0, most: int, number: int | None = None
) -> Taken:
    """Delete the content of events about people with their punches, and return how much; no ``number``: only count.

    They were received until a date, and a punch shows one of its terminal's clock until then. Events are looked at in
    order of their keys, ``most`` of them at a time. A punch that is dated ahead is kept until its date is over.
    """
    scanned = _scan(connection, next_day(until), after, most)
    due = [one for one in scanned if one[1] is not None]
    taken = [one for one, pin in due if pin is not None and not _is_held(pin, held)]
    if number is not None and taken:
        _empty(connection, taken, number)
    lines = (identifying(one.stream, one.sequence, one.id, one.digest) for one in taken)
    last = scanned[-1][0].key if len(scanned) == most else None
    return Taken(len(taken), len(due) - len(taken), digest_of(lines), last)


def _scan(connection: Connection, before: str, after: int, most: int) -> list[tuple[_Due, str | None]]:
    """Return events, each with its PIN: empty where none can be attributed to it, None where the event is not due."""
    query = (
        select(
            events.c.key,
            streams.c.name,
            events.c.sequence,
            events.c.id,
            events.c.digest,
            events.c.body,
            punches.c.id.label("punch"),
            events.c.type,
            punches.c.pin,
            punches.c.uid,
            punches.c.local_time,
        )
        .select_from(events)
        .join(streams, streams.c.id == events.c.stream)
        .outerjoin(punches, punches.c.id == events.c.id)
        .where(
            events.c.key > after,
            events.c.received < before,
            events.c.type.in_(WITH_PINS),
            func.substr(events.c.body, 1, len(STUB)) != STUB,
        )
        .order_by(events.c.key)
        .limit(most)
    )
    found: list[tuple[_Due, str | None]] = []
    for row in connection.execute(query):
        one = _Due(*tuple(row)[:7])
        if row.type != PUNCH:
            found.append((one, ""))
        elif row.punch is None:
            found.append((one, _pin_in(row.body)))
        else:
            pin = row.pin if row.pin is not None else f"uid:{row.uid}"
            found.append((one, pin if row.local_time < before else None))
    return found


def _is_held(pin: str, held: Held) -> bool:
    """Return whether a hold keeps punches of a PIN; a PIN without an owner is kept by each hold."""
    return held.everybody or (held.any and pin not in held.of_others)


def _pin_in(body: str) -> str:
    """Return the PIN of a punch that the table of punches lacks: its event was sent twice, or its id is not its own."""
    data = _content(body).get("data")
    pin, uid = (data.get("pin"), data.get("uid")) if isinstance(data, dict) else (None, None)
    return pin if isinstance(pin, str) else "" if uid is None else f"uid:{uid}"


def _content(body: str) -> dict[str, Any]:
    try:
        content = load_json(body)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _empty(connection: Connection, taken: Sequence[_Due], number: int) -> None:
    emptied = update(events).where(events.c.key == bindparam("of")).values(body=bindparam("stub"))
    if taken:
        connection.execute(emptied, [{"of": one.key, "stub": _stub(one.body, number)} for one in taken])
    ids = [one.punch for one in taken if one.punch is not None]
    connection.execute(delete(claims).where(listed(claims.c.punch, ids)))
    connection.execute(delete(punches).where(listed(punches.c.id, ids)))


def _stub(body: str, number: int) -> str:
    """Return what stays of a content: when it was recorded, so that gaps beside it keep their extent."""
    content = _content(body)
    kept: dict[str, Any] = {"deleted": number}
    kept |= {name: content[name] for name in ("time", "recordedtime") if isinstance(content.get(name), str)}
    data = content.get("data")
    suspect = data.get("suspect") if isinstance(data, dict) else None
    if isinstance(suspect, list) and "reset" in suspect:
        kept["data"] = {"suspect": ["reset"]}
    return dump_json(kept)


def settle(connection: Connection, until: date) -> None:
    """Forget what waits for a date that is never judged again: moments, readings, and PINs without an owner."""
    for one in (AWAITED, DUE, UNATTRIBUTED):
        connection.execute(delete(one).where(one.c.date <= until.isoformat()))


class Unsettled(NamedTuple):
    """What would stay undecided for ever if the days until a date were never judged again."""

    waiting: int
    """Marks about them that are still to be judged."""
    undecided: int
    """Days of which the verdict is not final, or could not be judged."""
    not_carried: int
    """Days of closed periods with a revision that no closing has carried yet."""


def unsettled(connection: Connection, until: date) -> Unsettled:
    """Return what speaks against settling the days until a date; of those settled before nothing does."""
    before = settled_until(connection)
    later = RESULT.alias("later")
    newest = ~exists().where(
        later.c.person == RESULT.c.person, later.c.date == RESULT.c.date, later.c.revision > RESULT.c.revision
    )
    days = [RESULT.c.date <= until.isoformat()]
    if before is not None:
        days.append(RESULT.c.date > before.isoformat())
    marks = [AFFECTED.c.first <= until.isoformat()]
    if before is not None:
        marks.append(AFFECTED.c.last > before.isoformat())
    waiting = select(func.count()).where(*marks, AFFECTED.c.failed.is_(None))
    failed = select(func.count()).where(*marks, AFFECTED.c.failed.is_not(None))
    open_days = select(func.count()).where(*days, RESULT.c.status.in_(("open", "provisional")), newest)
    last_closing = select(func.coalesce(func.max(CLOSING.c.entered), "")).scalar_subquery()
    not_carried = select(func.count()).where(*days, newest, _is_closed(until), RESULT.c.entered > last_closing)
    counts = [connection.execute(query).scalar_one() for query in (waiting, open_days, failed, not_carried)]
    return Unsettled(counts[0], counts[1] + counts[2], counts[3])


# --- verdicts -----------------------------------------------------------------------------------------------------


def _is_closed(until: date) -> ColumnElement[bool]:
    """Return the condition that a verdict is of a closed period that ends until a date."""
    return exists().where(
        CLOSED.c.person == RESULT.c.person,
        CLOSED.c.first <= RESULT.c.date,
        CLOSED.c.last >= RESULT.c.date,
        CLOSED.c.last <= until.isoformat(),
    )


def result_months(connection: Connection, until: date) -> list[str]:
    """Return the months (YYYY-MM) of closed periods that end until a date and have verdicts."""
    month = func.substr(RESULT.c.date, 1, 7)
    query = select(month).where(RESULT.c.date <= until.isoformat(), _is_closed(until)).distinct()
    return sorted(connection.execute(query).scalars())


def results_due(connection: Connection, until: date, held: Held, month: str, *, take: bool) -> Taken:
    """Delete the revisions of a month's days whose closed periods end until a date; without ``take`` only count.

    The closed totals, the adjustments and the files of the closings stay.
    """
    inside = [RESULT.c.date.between(f"{month}-01", min(f"{month}-31", until.isoformat())), _is_closed(until)]
    columns = RESULT.c.person, RESULT.c.date, RESULT.c.revision, RESULT.c.inputs, RESULT.c.content
    ours = [~listed(RESULT.c.person, held.people)] if held.people else []
    if held.everybody:
        ours = [false()]
    every = connection.execute(select(func.count()).where(*inside)).scalar_one()
    if not take:  # contents are read for the digest only
        due = connection.execute(select(func.count()).where(*inside, *ours)).scalar_one() if ours else every
        return Taken(due, every - due)
    rows = connection.execute(select(*columns).where(*inside, *ours).order_by(*columns[:3]))
    lines = [f"{person} {on} {number} {inputs} {_sha(content)}" for person, on, number, inputs, content in rows]
    if lines:
        gone = select(RESULT.c.person).where(RESULT.c.person == OUTBOX.c.person, RESULT.c.date == OUTBOX.c.date)
        connection.execute(delete(OUTBOX).where(OUTBOX.c.revision > 0, gone.where(*inside, *ours).exists()))
        of_row = (
            RESULT.c.person == OUTCOME.c.person,
            RESULT.c.date == OUTCOME.c.date,
            RESULT.c.revision == OUTCOME.c.revision,
        )
        connection.execute(delete(OUTCOME).where(exists(select(RESULT.c.person).where(*of_row, *inside, *ours))))
        connection.execute(delete(RESULT).where(*inside, *ours))
    return Taken(len(lines), every - len(lines), digest_of(lines))


# --- the rest -----------------------------------------------------------------------------------------------------


def requests_due(connection: Connection, until: date, held: Held, *, take: bool) -> Taken:
    """Delete decided requests with their steps, and notes on days, that were last written until a date.

    The newest note stays, so that no number is given twice. What an approval entered stays in its register.
    """
    before = next_day(until)
    last = select(STEP.c.request, func.max(STEP.c.number).label("number")).group_by(STEP.c.request).subquery()
    decided = (
        select(REQUEST)
        .join(last, last.c.request == REQUEST.c.id)
        .join(STEP, (STEP.c.request == REQUEST.c.id) & (STEP.c.number == last.c.number))
        .where(
            STEP.c.what != ENTERED,
            STEP.c.at < before,
        )
    )
    old = select(NOTE).where(NOTE.c.at < before, NOTE.c.id < select(func.max(NOTE.c.id)).scalar_subquery())
    requests = connection.execute(decided.order_by(REQUEST.c.id)).all()
    notes = connection.execute(old.order_by(NOTE.c.id)).all()
    mine = [row for row in requests if not _is_of(held, row.person, row.requester)]
    ours = [row for row in notes if not _is_of(held, row.person)]
    lines = [f"request {row.id} {_sha(encode(list(row)))}" for row in mine]
    lines += [f"note {row.id} {_sha(encode(list(row)))}" for row in ours]
    if take:
        numbers = [row.id for row in mine]
        connection.execute(delete(STEP).where(listed(STEP.c.request, numbers)))
        connection.execute(delete(REQUEST).where(listed(REQUEST.c.id, numbers)))
        connection.execute(delete(NOTE).where(listed(NOTE.c.id, [row.id for row in ours])))
    return Taken(len(lines), len(requests) + len(notes) - len(lines), digest_of(lines))


def _is_of(held: Held, *people: str | None) -> bool:
    return held.everybody or any(person in held.people for person in people if person is not None)


def accesses_due(connection: Connection, until: date, held: Held, most: int | None) -> Taken:
    """Return the rows from the beginning of the access log that were written until a date; the newest row stays.

    While any hold is in force nothing is due: a row about a unit does not say which people it showed.
    """
    first, _ = access_begin(connection)
    later = select(func.min(ACCESS.c.id)).where(ACCESS.c.at >= next_day(until)).scalar_subquery()
    newest = select(func.max(ACCESS.c.id)).scalar_subquery()
    due = ACCESS.c.id > first, ACCESS.c.id < func.coalesce(later, newest), ACCESS.c.id < newest
    if held.any:
        return Taken(0, connection.execute(select(func.count()).where(*due)).scalar_one())
    rows = connection.execute(select(ACCESS.c.id, ACCESS.c.digest).where(*due).order_by(ACCESS.c.id).limit(most)).all()
    if not rows:
        return Taken(0)
    last = int(rows[-1].id), str(rows[-1].digest)
    return Taken(len(rows), 0, digest_of(row.digest for row in rows), last[0] if len(rows) == most else None, last)


def delete_accesses(connection: Connection, last: int) -> None:
    """Delete the access log up to a row; a trigger refuses it where no deletion on record names that row."""
    connection.execute(delete(ACCESS).where(ACCESS.c.id <= last))


def rejected_due(connection: Connection, until: date, held: Held, *, take: bool) -> Taken:
    """Delete rejected messages that last came until a date, and go on counting them; and what an old version believed.

    Their content is not attributed to anybody, so all of it is kept while any hold is in force.
    """
    before = next_day(until)
    rows = connection.execute(
        select(rejected.c.topic, rejected.c.sha256, rejected.c.gateway, rejected.c.reason, rejected.c.times)
        .add_columns(rejected.c.first, rejected.c.last)
        .where(rejected.c.last < before)
        .order_by(rejected.c.topic, rejected.c.sha256)
    ).all()
    believed = connection.execute(select(unproven.c.key).where(unproven.c.received < before)).scalars().all()
    count = len(rows) + len(believed)
    if held.any:
        return Taken(0, count)
    lines = [f"rejected {row.topic} {row.sha256}" for row in rows] + [f"unproven {key}" for key in believed]
    if take:
        for row in rows:
            _count_rejected(connection, row)
        connection.execute(delete(rejected).where(rejected.c.last < before))
        connection.execute(delete(unproven).where(unproven.c.received < before))
    return Taken(count, 0, digest_of(lines))


def _count_rejected(connection: Connection, row: Any) -> None:
    key = {"gateway": row.gateway or "", "reason": row.reason}
    same = rejected_counted.c.gateway == key["gateway"], rejected_counted.c.reason == key["reason"]
    first, last = rejected_counted.c.first, rejected_counted.c.last
    values = {
        "times": rejected_counted.c.times + row.times,
        "first": case((first < row.first, first), else_=row.first),
        "last": case((last > row.last, last), else_=row.last),
    }
    if not connection.execute(update(rejected_counted).where(*same).values(values)).rowcount:
        connection.execute(insert(rejected_counted), key | {"times": row.times, "first": row.first, "last": row.last})


def mails_due(connection: Connection, until: date, *, take: bool) -> Taken:
    """Delete mails that were made until a date and were sent or given up."""
    old = MAIL.c.made < next_day(until), or_(MAIL.c.sent.is_not(None), MAIL.c.refused.is_not(None))
    lines = [
        f"mail {row.id} {_sha(row.text)}"
        for row in connection.execute(select(MAIL.c.id, MAIL.c.text).where(*old).order_by(MAIL.c.id))
    ]
    if take:
        connection.execute(delete(MAIL).where(*old))
    return Taken(len(lines), 0, digest_of(lines))


def sessions_due(connection: Connection, until: date, *, take: bool) -> Taken:
    """Delete sessions that were last used until a date; they have ended long before."""
    old = SESSION.c.seen < next_day(until)
    count = connection.execute(select(func.count()).where(old)).scalar_one()
    if take:
        connection.execute(delete(SESSION).where(old))
    return Taken(count)


def _sha(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def units_ever_below(connection: Connection, unit: str) -> set[str]:
    """Return a unit with those that were ever entered as below it."""
    found, new = set[str](), {unit}
    while new:
        found |= new
        above = [f"unit:{key}" for key in new]
        query = select(ROW.c.subject).where(ROW.c.kind == "units", listed(ROW.c.other, above)).distinct()
        new = {subject.removeprefix("unit:") for subject in connection.execute(query).scalars()} - found
    return found


def everyone_ever_in(connection: Connection, units: Iterable[str]) -> frozenset[str]:
    """Return the people who were ever entered as belonging to one of the units, also by rows that count no more."""
    query = select(ROW.c.subject).where(ROW.c.kind == "people", listed(ROW.c.other, [f"unit:{key}" for key in units]))
    return frozenset(subject.removeprefix("person:") for subject in connection.execute(query.distinct()).scalars())


def pins_ever_of(connection: Connection, people: Iterable[str] | None = None) -> frozenset[str]:
    """Return the PINs with which people, or any, were ever enrolled anywhere, also by rows that count no more."""
    query = select(ROW.c.other).where(ROW.c.kind == "enrolments").distinct()
    if people is not None:
        query = query.where(listed(ROW.c.subject, [f"person:{key}" for key in people]))
    return frozenset(other.partition(" ")[2] for other in connection.execute(query).scalars() if other)
