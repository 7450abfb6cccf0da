"""Terminals and how far their logs are known, times in which a punch may exist, and days that wait for more."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String

from central.event import INCIDENTS, Event, read_stored
from central.store.bodies import extent_of_gap

revision = "0005"
down_revision = "0004"

_KEY = BigInteger().with_variant(Integer(), "sqlite")
_FOREVER = 1 << 62


def upgrade() -> None:
    """Create the tables, and fill in what the stored events say."""
    op.create_table(
        "terminal",
        Column("id", _KEY, primary_key=True),
        Column("gateway", BigInteger, ForeignKey("gateway.id"), nullable=False),
        Column("name", String, nullable=False),
        Column("serial", String, nullable=False),
        Column("found", String, nullable=False),
        Column("log", String),
    )
    op.create_index("terminal_device", "terminal", ["gateway", "name", "serial"], unique=True)
    op.create_index("terminal_serial", "terminal", ["serial"])
    op.create_table(
        "watermark",
        Column("id", _KEY, primary_key=True),
        Column("terminal", BigInteger, ForeignKey("terminal.id"), nullable=False),
        Column("stream", BigInteger, ForeignKey("stream.id"), nullable=False),
        Column("until", BigInteger, nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("received", String, nullable=False),
        Column("counted", String),
    )
    op.create_index("watermark_until", "watermark", ["terminal", "until"])
    waits, unresolved = sa.text("counted IS NULL"), sa.text("punch IS NOT NULL")
    op.create_index("watermark_waiting", "watermark", ["stream"], sqlite_where=waits, postgresql_where=waits)
    op.create_table(
        "incident",
        Column("event", BigInteger, ForeignKey("event.key"), primary_key=True),
        Column("gateway", BigInteger, ForeignKey("gateway.id"), nullable=False),
        Column("stream", BigInteger, ForeignKey("stream.id"), nullable=False),
        Column("sequence", BigInteger, nullable=False),
        Column("kind", String, nullable=False),
        Column("terminal", String),
        Column("serial", String),
        Column("begin", BigInteger, nullable=False),
        Column("end", BigInteger, nullable=False),
        Column("punch", String),
    )
    op.create_index("incident_begin", "incident", ["gateway", "kind", "begin"])
    op.create_index("incident_end", "incident", ["gateway", "kind", "end"])
    op.create_index("incident_place", "incident", ["stream", "sequence"])
    op.create_index("incident_unresolved", "incident", ["punch"], sqlite_where=unresolved, postgresql_where=unresolved)
    op.create_index("punch_serial", "punch", ["serial", "instant"])
    op.create_table(
        "awaited",
        Column("person", String, primary_key=True),
        Column("date", String, primary_key=True),
    )
    op.add_column("gap", Column("begin", BigInteger, nullable=False, server_default="0"))
    op.add_column("gap", Column("end", BigInteger, nullable=False, server_default="0"))
    op.create_index("gap_end", "gap", ["end"])
    _fill_gaps()
    _fill_incidents()


def _fill_gaps() -> None:
    connection = op.get_bind()
    for stream, first, last in connection.execute(sa.text("SELECT stream, first, last FROM gap")).all():
        begin, end = extent_of_gap(connection, stream, first, last)
        connection.execute(
            sa.text('UPDATE gap SET "begin" = :begin, "end" = :end WHERE stream = :stream AND first = :first'),
            {"begin": begin, "end": end, "stream": stream, "first": first},
        )


def _fill_incidents() -> None:
    connection = op.get_bind()
    query = sa.text(
        "SELECT event.key, gateway.id, gateway.name, event.stream, event.sequence, event.body FROM event "
        "JOIN stream ON stream.id = event.stream JOIN gateway ON gateway.id = stream.gateway "
        "WHERE event.key > :last AND event.type IN :types ORDER BY event.key LIMIT 1000"
    ).bindparams(sa.bindparam("types", expanding=True))
    last = 0
    while rows := connection.execute(query, {"last": last, "types": list(INCIDENTS)}).all():
        last = rows[-1].key
        found = [row for place in rows if (row := _row(*place)) is not None]
        if found:
            connection.execute(
                sa.text(
                    'INSERT INTO incident (event, gateway, stream, sequence, kind, terminal, serial, begin, "end", '
                    "punch) VALUES (:event, :gateway, :stream, :sequence, :kind, :terminal, :serial, :begin, :end, "
                    ":punch)"
                ),
                found,
            )
    connection.execute(
        sa.text(
            'UPDATE incident SET begin = punch.instant, "end" = punch.instant, punch = NULL FROM punch '
            "WHERE punch.id = incident.punch"
        )
    )
    connection.execute(
        sa.text(
            'UPDATE incident SET "end" = coalesce((SELECT min(f."end") FROM incident AS f '
            "WHERE f.gateway = incident.gateway AND f.kind = 'found' AND f.terminal = incident.terminal "
            'AND f.begin = incident.begin), (SELECT min(r."end") FROM incident AS r '
            "WHERE r.gateway = incident.gateway AND r.kind = 'resumed' AND r.\"end\" > incident.begin), :forever) "
            "WHERE kind = 'lost'"
        ),
        {"forever": _FOREVER},
    )


def _row(key: int, gateway: int, name: str, stream: int, sequence: int, body: str) -> dict[str, object] | None:
    event = read_stored(name, body)
    incident = event.incident if isinstance(event, Event) else None
    if incident is None:
        return None
    end = _FOREVER if incident.end is None else incident.end
    begin = end - 86_400 if incident.begin is None else incident.begin
    return {
        "event": key,
        "gateway": gateway,
        "stream": stream,
        "sequence": sequence,
        **incident._asdict(),
        "begin": begin,
        "end": end,
    }
