"""Connections to the broker, and gateways that are not known to run since the centre had none."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String

revision = "0012"
down_revision = "0011"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables; the connection of the version before lasted until the last event arrived."""
    op.create_table(
        "contact",
        Column("id", _KEY, primary_key=True),
        Column("since", String, nullable=False),
        Column("until", String, nullable=False),
        Column("lost", String),
    )
    op.create_table(
        "away",
        Column("id", _KEY, primary_key=True),
        Column("gateway", BigInteger, ForeignKey("gateway.id"), nullable=False),
        Column("begin", BigInteger, nullable=False),
        Column("lost", String, nullable=False),
        Column("marked", String),
        Column("seen", String),
        Column("ended", String),
    )
    op.create_index("away_gateway", "away", ["gateway"])
    is_open = sa.text("ended IS NULL")
    op.create_index("away_open", "away", ["gateway"], sqlite_where=is_open, postgresql_where=is_open)
    op.execute(
        "INSERT INTO contact (since, until) "
        "SELECT received, received FROM event WHERE key = (SELECT max(key) FROM event)"
    )
