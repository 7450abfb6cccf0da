"""Marks of people are found by their subject and first date, those of one person together."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the index, without the marks of punches."""
    of_person = sa.text("subject >= 'person:' AND subject < 'person;'")
    op.create_index(
        "affected_person", "affected", ["subject", "first"], sqlite_where=of_person, postgresql_where=of_person
    )
