"""The events around a place of a stream, and the times between which what is missing there was recorded."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from central.store.tables import events

EVER = 1 << 62
"""Beyond every instant, and negated before every one."""


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
    one before it in the log. It ends when the event behind it was recorded.
    """
    before = body_below(connection, stream, first, known_at)
    after = body_above(connection, stream, last, known_at)
    begin = None if before is None else _moment(before, "time", "recordedtime")
    end = None if after is None else _moment(after, "recordedtime", "time")
    return -EVER if begin is None else begin, EVER if end is None else end


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
