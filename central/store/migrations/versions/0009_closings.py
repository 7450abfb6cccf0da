"""Closed periods: totals as they were, what changed them later, the files made then, and the messages about them."""

from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, String, UniqueConstraint

revision = "0009"
down_revision = "0008"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "closing",
        Column("id", _KEY, primary_key=True),
        Column("unit", String, nullable=False),
        Column("first", String, nullable=False),
        Column("last", String, nullable=False),
        Column("closed_by", String, nullable=False),
        Column("paper", String, nullable=False),
        Column("entered", String, nullable=False),
        Column("still_open", String, nullable=False),
        Column("policies", String, nullable=False),
        Column("digest", String, nullable=False),
    )
    op.create_index("closing_unit", "closing", ["unit", "first"])
    op.create_table(
        "closed_total",
        Column("person", String, primary_key=True),
        Column("first", String, primary_key=True),
        Column("last", String, nullable=False),
        Column("closing", BigInteger, ForeignKey("closing.id"), nullable=False),
        Column("unit", String),
        Column("content", String, nullable=False),
        Column("revisions", String, nullable=False),
    )
    op.create_index("closed_total_unit", "closed_total", ["unit", "first"])
    op.create_index("closed_total_of", "closed_total", ["closing"])
    op.create_table(
        "adjustment",
        Column("id", _KEY, primary_key=True),
        Column("closing", BigInteger, ForeignKey("closing.id"), nullable=False),
        Column("person", String, nullable=False),
        Column("first", String, nullable=False),
        Column("last", String, nullable=False),
        Column("unit", String),
        Column("content", String, nullable=False),
        Column("after", String, nullable=False),
        Column("revisions", String, nullable=False),
        UniqueConstraint("closing", "person", "first"),
    )
    op.create_index("adjusted", "adjustment", ["person", "first"])
    op.create_table(
        "kept_file",
        Column("closing", BigInteger, ForeignKey("closing.id"), primary_key=True),
        Column("name", String, primary_key=True),
        Column("media_type", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("content", LargeBinary, nullable=False),
    )
    op.add_column("outbox", Column("closing", BigInteger))
