"""Messages about results that wait for the broker."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String

revision = "0004"
down_revision = "0003"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the table, and the index that summaries are read by."""
    op.create_table(
        "outbox",
        Column("id", _KEY, primary_key=True),
        Column("unit", String, nullable=False),
        Column("date", String, nullable=False),
        Column("person", String, nullable=False),
        Column("revision", Integer, nullable=False),
        Column("refused", String),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_unit", "outbox", ["unit", "date", "person"])
    op.create_index("result_unit", "result", ["unit", "date"])
