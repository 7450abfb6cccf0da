"""The events around a place of a stream, and the times between which what is missing there was recorded."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from central.store.tables import events

EVER = 1 << 62
"""Beyond every instant, and negated before every one."""
UNDATED_S = 7 * 86_400
"""How much older than its arrival a record may be where no clock says how old it is."""


def body_below(connection: Connection, stream: int, sequence: int, known_at: str | None = None) -> str | None:
    """Return the body of the last event before a place; places of pruned events are passed over."""
    below = events.c.sequence < sequence
    return _body(connection, stream, below, known_at, events.c.sequence.desc())


def body_above(connection: Connection, stream: int, sequence: int, known_at: str | None = None) -> str | None:
    """Return the body of the first event after a place, likewise."""
    return _body(connection, stream, events.c.sequence > sequence, known_at, events.c.sequence)


def extent_of_gap(
    connection: Connection, stream: int, first: int, last: int, known_at: str | None = None
) -> tuple[int, int]:
    """Return the instants between which the events of a gap were recorded.

    It begins with the event before it, by that event's own time: a record that is read later may be no older than the
    one before it in the log. A clock that was ahead says no more than when the event was recorded, and one that was
    reset nothing: then it begins :data:`UNDATED_S` before that. It ends when the event behind it was recorded.
    """
    before = body_below(connection, stream, first, known_at)
    after = body_above(connection, stream, last, known_at)
    begin = None if before is None else _begin(before)
    end = None if after is None else _moment(after, "recordedtime", "time")
    return -EVER if begin is None else begin, EVER if end is None else end


def recorded_at(body: str) -> int:
    """Return the second of UTC at which an event was recorded; before all others where it does not say."""
    found = _moment(body, "recordedtime", "time")
    return -EVER if found is None else found


def _begin(body: str) -> int | None:
    own, stored = _moment(body, "time"), _moment(body, "recordedtime")
    if own is None or stored is None:
        return own if stored is None else stored
    return stored - UNDATED_S if own < stored and _is_reset(body) else min(own, stored)


def _is_reset(body: str) -> bool:
    data = json.loads(body).get("data")
    suspect = data.get("suspect") if isinstance(data, dict) else None
    return isinstance(suspect, list) and "reset" in suspect


def _moment(body: str, *names: str) -> int | None:
    for name in names:
        try:
            return int(datetime.fromisoformat(json.loads(body)[name]).timestamp())
        except (ValueError, LookupError, TypeError, OverflowError):
            continue
    return None


def _body(
    connection: Connection, stream: int, place: ColumnElement[bool], known_at: str | None, order: ColumnElement[Any]
) -> str | None:
    query = select(events.c.body).where(events.c.stream == stream, place)
    if known_at is not None:
        query = query.where(events.c.received <= known_at)
    return connection.execute(query.order_by(order, events.c.key).limit(1)).scalar_one_or_none()
