"""Verdicts: what is to be judged, when time itself is a reason to, each revision of each day; and punches' instants."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String

revision = "0003"
down_revision = "0002"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and give punches that are held their instants."""
    op.create_table(
        "affected",
        Column("id", _KEY, primary_key=True),
        Column("subject", String, nullable=False),
        Column("first", String, nullable=False),
        Column("last", String, nullable=False),
        Column("cause", String, nullable=False),
        Column("entered", String, nullable=False),
        Column("failed", String),
    )
    op.create_table(
        "due",
        Column("person", String, primary_key=True),
        Column("date", String, primary_key=True),
        Column("at", BigInteger, nullable=False),
    )
    op.create_index("due_at", "due", ["at"])
    op.create_table(
        "result",
        Column("person", String, primary_key=True),
        Column("date", String, primary_key=True),
        Column("revision", Integer, primary_key=True),
        Column("status", String, nullable=False),
        Column("unit", String),
        Column("policy", String),
        Column("inputs", String, nullable=False),
        Column("engine", Integer, nullable=False),
        Column("content", String, nullable=False),
        Column("changed", String, nullable=False),
        Column("cause", String, nullable=False),
        Column("entered", String, nullable=False),
    )
    op.create_index("result_date", "result", ["date"])
    op.create_table(
        "unattributed",
        Column("site", String, primary_key=True),
        Column("date", String, primary_key=True),
        Column("serial", String, primary_key=True),
        Column("pin", String, primary_key=True),
    )
    op.create_table(
        "judged_by",
        Column("id", _KEY, primary_key=True),
        Column("name", String, nullable=False),
        Column("digest", String, nullable=False),
        Column("entered", String, nullable=False),
    )
    op.add_column("punch", Column("instant", BigInteger))
    _fill_instants()
    op.create_index("punch_instant", "punch", ["pin", "instant"])


def _fill_instants() -> None:
    connection = op.get_bind()
    last = ""
    while True:
        rows = connection.execute(
            sa.text(
                "SELECT punch.id, punch.local_time, event.body FROM punch JOIN event ON event.key = punch.event "
                "WHERE punch.id > :last ORDER BY punch.id LIMIT 1000"
            ),
            {"last": last},
        ).all()
        if not rows:
            return
        last = rows[-1].id
        connection.execute(
            sa.text("UPDATE punch SET instant = :instant WHERE id = :id"),
            [{"id": row.id, "instant": _instant(row.local_time, row.body)} for row in rows],
        )


def _instant(local_time: str, body: str) -> int:
    """Return the second of UTC of a local time: by the offset in the event's time, else as if it were UTC."""
    local = int(datetime.fromisoformat(local_time).replace(tzinfo=UTC).timestamp())
    try:
        content: Any = json.loads(body)
        offset = datetime.fromisoformat(content["time"]).utcoffset()
    except (ValueError, TypeError, KeyError):
        offset = None
    return local - (0 if offset is None else int(offset.total_seconds()))
