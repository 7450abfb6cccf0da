"""Requests with their steps, and notes on days."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, String

revision = "0010"
down_revision = "0009"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "request",
        Column("id", _KEY, primary_key=True),
        Column("kind", String, nullable=False),
        Column("content", String, nullable=False),
        Column("person", String),
        Column("unit", String),
        Column("first", String, nullable=False),
        Column("last", String),
        Column("requested_by", String, nullable=False),
        Column("requester", String),
    )
    op.create_index("request_person", "request", ["person", "first"])
    op.create_table(
        "request_step",
        Column("id", _KEY, primary_key=True),
        Column("request", BigInteger, ForeignKey("request.id"), nullable=False),
        Column("number", Integer, nullable=False),
        Column("what", String, nullable=False),
        Column("by", String, nullable=False),
        Column("at", String, nullable=False),
        Column("reason", String, nullable=False),
        Column("paper", String, nullable=False),
        Column("import_id", BigInteger),
    )
    op.create_index("request_step_of", "request_step", ["request", "number"], unique=True)
    op.create_table(
        "day_note",
        Column("id", _KEY, primary_key=True),
        Column("person", String, nullable=False),
        Column("date", String, nullable=False),
        Column("what", String, nullable=False),
        Column("by", String, nullable=False),
        Column("at", String, nullable=False),
        Column("text", String, nullable=False),
    )
    op.create_index("day_note_of", "day_note", ["person", "date"])
