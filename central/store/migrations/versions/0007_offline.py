"""Gateways that are offline, logs that lost records, and watermarks that wait, by their sequence."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String

from central.event import Event, read_stored

revision = "0007"
down_revision = "0006"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the table, and fill in what the stored events say of logs."""
    op.add_column("gateway", Column("session", BigInteger))
    op.create_table(
        "offline",
        Column("id", _KEY, primary_key=True),
        Column("gateway", BigInteger, ForeignKey("gateway.id"), nullable=False),
        Column("session", BigInteger),
        Column("begin", BigInteger, nullable=False),
        Column("stated", String, nullable=False),
        Column("missed", String),
        Column("online", String),
        Column("ended", String),
    )
    op.create_index("offline_gateway", "offline", ["gateway"])
    is_open = sa.text("ended IS NULL")
    op.create_index("offline_open", "offline", ["gateway"], sqlite_where=is_open, postgresql_where=is_open)
    op.drop_index("watermark_waiting", "watermark")
    waits = sa.text("counted IS NULL")
    op.create_index(
        "watermark_waiting", "watermark", ["stream", "sequence"], sqlite_where=waits, postgresql_where=waits
    )
    _fill_logs()


def _fill_logs() -> None:
    connection = op.get_bind()
    query = sa.text(
        "SELECT event.key, gateway.id AS gateway, gateway.name, event.stream, event.sequence, event.body FROM event "
        "JOIN stream ON stream.id = event.stream JOIN gateway ON gateway.id = stream.gateway "
        "WHERE event.key > :last AND event.type = 'hadir.terminal.changed.v1' "
        "AND event.key NOT IN (SELECT event FROM incident) ORDER BY event.key LIMIT 1000"
    )
    last = 0
    while rows := connection.execute(query, {"last": last}).all():
        last = rows[-1].key
        for row in rows:
            event = read_stored(row.name, row.body)
            incident = event.incident if isinstance(event, Event) else None
            if incident is None or incident.kind != "log_lost" or incident.end is None:
                continue
            place = {"stream": row.stream, "sequence": row.sequence, "serial": incident.serial}
            complete = connection.execute(_COMPLETE_BEFORE, place).scalar_one()
            begin = incident.end - 86_400 if complete is None else min(complete, incident.end)
            found = {"event": row.key, "gateway": row.gateway, "stream": row.stream, "sequence": row.sequence}
            connection.execute(_ADD, found | incident._asdict() | {"begin": begin})


_COMPLETE_BEFORE = sa.text(
    "SELECT max(watermark.until) FROM watermark JOIN terminal ON terminal.id = watermark.terminal "
    "WHERE terminal.serial = :serial AND watermark.stream = :stream AND watermark.sequence < :sequence"
)
_ADD = sa.text(
    'INSERT INTO incident (event, gateway, stream, sequence, kind, terminal, serial, begin, "end", punch) '
    "VALUES (:event, :gateway, :stream, :sequence, :kind, :terminal, :serial, :begin, :end, :punch)"
)
