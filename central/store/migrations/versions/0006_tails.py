"""Ends of streams that were announced and have not arrived."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String

revision = "0006"
down_revision = "0005"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the table; what is missing now is announced again within a minute."""
    op.create_table(
        "tail",
        Column("id", _KEY, primary_key=True),
        Column("stream", BigInteger, ForeignKey("stream.id"), nullable=False),
        Column("assigned", BigInteger, nullable=False),
        Column("begin", BigInteger, nullable=False),
        Column("announced", String, nullable=False),
        Column("missed", String),
        Column("held", String),
    )
    is_open = sa.text("held IS NULL")
    op.create_index("tail_open", "tail", ["stream"], sqlite_where=is_open, postgresql_where=is_open)
