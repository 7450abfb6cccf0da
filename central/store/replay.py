"""How far a standby of the PostgreSQL server has replayed what the primary has written."""

from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

_WRITTEN = text("SELECT CAST(pg_current_wal_lsn() AS text)")
_REPLAYED = text(
    "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn), pg_last_xact_replay_timestamp()"
)


class Replayed(NamedTuple):
    """What a standby shows."""

    reached: bool
    """Everything up to the position that was given."""
    committed: datetime | None
    """When the primary committed the last transaction that it shows, by the primary's clock; None: not known."""


def written(connection: Connection) -> str:
    """Return how far a primary has written its log: a position, for :func:`replayed`."""
    return str(connection.execute(_WRITTEN).scalar_one())


def replayed(connection: Connection, position: str) -> Replayed | None:
    """Return how far a standby has come; None where the server is none, as after it was promoted."""
    standby, reached, committed = connection.execute(_REPLAYED, {"position": position}).one()
    return Replayed(bool(reached), committed and committed.astimezone(UTC)) if standby else None
