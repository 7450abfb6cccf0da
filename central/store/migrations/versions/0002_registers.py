"""The registers: files that were imported, and what each of their rows states."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, String

revision = "0002"
down_revision = "0001"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "register_import",
        Column("id", _KEY, primary_key=True),
        Column("kind", String, nullable=False),
        Column("file", String, nullable=False),
        Column("sha256", String, nullable=False),
        Column("by", String, nullable=False),
        Column("paper", String, nullable=False),
        Column("entered", String, nullable=False),
        Column("clock", String),
        Column("rows", Integer, nullable=False),
        Column("withdrawn", Boolean, nullable=False),
    )
    op.create_table(
        "register_row",
        Column("id", _KEY, primary_key=True),
        Column("import_id", BigInteger, ForeignKey("register_import.id"), nullable=False),
        Column("kind", String, nullable=False),
        Column("identity", String, nullable=False),
        Column("subject", String, nullable=False),
        Column("other", String),
        Column("valid_from", String, nullable=False),
        Column("valid_until", String),
        Column("content", String, nullable=False),
        Column("withdrawn", Boolean, nullable=False),
        Column("entered", String, nullable=False),
    )
    op.create_index("register_row_identity", "register_row", ["kind", "identity", "id"])
    op.create_index("register_row_subject", "register_row", ["subject", "kind", "valid_from"])
    op.create_index("register_row_other", "register_row", ["other", "kind", "valid_from"])
