"""What waits in the database for something that a batch may bring: one statement, of which most batches need no other.

Each subject has its own statements for what it then reads and changes. They are run only where this one names them.
The function works within the caller's transaction.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from central.store.contact import AWAY_WAITS
from central.store.engine import json_list
from central.store.punches import Arrived
from central.store.streams import Streams
from central.store.tails import TAIL_WAITS
from central.store.terminals import MISDATED_WAITS, NEAR, OUTAGE_WAITS, UNRESOLVED_WAITS, WATERMARK_WAITS


class Waiting(NamedTuple):
    """Whether rows wait; where one of these is false, its subject finds nothing."""

    unresolved: bool
    """A live event without its punch."""
    misdated: bool
    """A punch without a date, beside a punch of the batch."""
    outage: bool
    """An outage that a punch of the batch may shorten."""
    away: bool
    """A gateway that has shown nothing since the connection to the broker began."""
    tail: bool
    """The announced end of a stream of the batch."""
    watermark: bool
    """A watermark of a gateway of the batch that does not count yet."""


def find_waiting(connection: Connection, touched: Streams, arrived: Sequence[Arrived]) -> Waiting:
    """Return what waits; to be called when the batch's events, punches, incidents and announced ends are stored."""
    punched = [(event.sequence, event.punch) for _, event, _ in arrived if event.punch is not None]
    places = [sequence for sequence, _ in punched] or [0]
    instants = [punch.instant for _, punch in punched] or [0]
    values = {
        "gateways": json_list(gateway.key for gateway in touched.gateways.values()),
        "streams": json_list(stream.key for stream in touched.streams.values()),
        "serials": json_list({punch.serial for _, punch in punched}),
        "low": min(places) - NEAR,
        "high": max(places) + NEAR,
        "first": min(instants),
        "last": max(instants),
    }
    return Waiting(*connection.execute(_WAITING, values).one())


_WAITING = select(UNRESOLVED_WAITS, MISDATED_WAITS, OUTAGE_WAITS, AWAY_WAITS, TAIL_WAITS, WATERMARK_WAITS)
