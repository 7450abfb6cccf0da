"""Decisions about keeping data (holds, deletions), and mails that wait or were sent."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, UniqueConstraint

from central.store.migrations.grown import only_grows, refuse_deletion
from central.store.portable import json_field

revision = "0011"
down_revision = "0010"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables; the access log may lose rows that a deletion on record covers, and no others."""
    op.create_table(
        "retention_log",
        Column("id", _KEY, primary_key=True),
        Column("at", String, nullable=False),
        Column("what", String, nullable=False),
        Column("content", String, nullable=False),
        Column("by", String, nullable=False),
        Column("paper", String, nullable=False),
        Column("previous", String, nullable=False),
        Column("digest", String, nullable=False),
    )
    only_grows("retention_log", "the log of retention only grows")
    last, kind = (json_field(op.get_bind(), "content", name, integer=name == "last") for name in ("last", "kind"))
    recorded = f"SELECT max({last}) FROM retention_log WHERE what = 'deletion' AND {kind} = 'access'"  # noqa: S608
    refuse_deletion("access_log", "the access log only grows", unless=f"OLD.id <= coalesce(({recorded}), 0)")
    op.create_table(
        "mail",
        Column("id", _KEY, primary_key=True),
        Column("kind", String, nullable=False),
        Column("account", String, nullable=False),
        Column("subject_of", String, nullable=False),
        Column("day", String, nullable=False),
        Column("address", String, nullable=False),
        Column("subject", String, nullable=False),
        Column("text", String, nullable=False),
        Column("made", String, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("next_at", BigInteger, nullable=False),
        Column("failure", String),
        Column("sent", String),
        Column("refused", String),
        UniqueConstraint("kind", "account", "subject_of", "day"),
    )
