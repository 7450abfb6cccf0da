"""Sessions of the pages, and the log of who looked at whose data, which only grows."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, String

from central.store.migrations.grown import only_grows

revision = "0008"
down_revision = "0007"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and the triggers that refuse changes of the log."""
    op.create_table(
        "web_session",
        Column("token", String, primary_key=True),
        Column("account", String, nullable=False),
        Column("proof", String, nullable=False),
        Column("begun", String, nullable=False),
        Column("seen", String, nullable=False),
    )
    op.create_index("session_account", "web_session", ["account"])
    op.create_table(
        "access_log",
        Column("id", _KEY, primary_key=True),
        Column("at", String, nullable=False),
        Column("account", String, nullable=False),
        Column("role", String, nullable=False),
        Column("address", String, nullable=False),
        Column("what", String, nullable=False),
        Column("unit", String),
        Column("person", String),
        Column("first", String),
        Column("last", String),
        Column("people", Integer),
        Column("refused", Boolean, nullable=False),
        Column("previous", String, nullable=False),
        Column("digest", String, nullable=False),
    )
    for name in ("account", "person", "unit"):
        op.create_index(f"access_{name}", "access_log", [name, "id"])
    only_grows("access_log", "the access log only grows")
