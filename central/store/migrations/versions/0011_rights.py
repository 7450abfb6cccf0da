"""Decisions about keeping data (holds, deletions), and mails that wait or were sent."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String, UniqueConstraint

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
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER retention_log_{change.lower()} BEFORE {change} ON retention_log "
            "BEGIN SELECT RAISE(ABORT, 'the log of retention only grows'); END"
        )
    op.execute(
        "CREATE TRIGGER retention_log_insert BEFORE INSERT ON retention_log "
        "WHEN NEW.id IS NOT coalesce((SELECT max(id) FROM retention_log), 0) + 1 "
        "OR NEW.previous IS NOT coalesce((SELECT digest FROM retention_log ORDER BY id DESC LIMIT 1), '') "
        "BEGIN SELECT RAISE(ABORT, 'the log of retention only grows'); END"
    )
    op.execute("DROP TRIGGER access_log_delete")
    op.execute(
        "CREATE TRIGGER access_log_delete BEFORE DELETE ON access_log "
        "WHEN OLD.id > coalesce((SELECT max(json_extract(content, '$.last')) FROM retention_log "
        "WHERE what = 'deletion' AND json_extract(content, '$.kind') = 'access'), 0) "
        "BEGIN SELECT RAISE(ABORT, 'the access log only grows'); END"
    )
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
