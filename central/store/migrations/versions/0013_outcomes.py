"""Outcomes of verdicts, of those that are stored already too."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, String

from central.store.outcome_proof import renew

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Create the table and fill it from the stored verdicts, a page at a time.

    The rows follow from the verdicts, so the program makes them. A later migration that changes the columns drops the
    table, creates and fills it itself, and leaves only the creation here.
    """
    numbers = ("shifts", "planned_min", "late_min", "early_min", "missing", "excused_min", "cut")
    op.create_table(
        "outcome",
        Column("person", String, primary_key=True),
        Column("date", String, primary_key=True),
        Column("revision", Integer, primary_key=True),
        Column("entered", String, nullable=False),
        Column("unit", String),
        Column("policy", String),
        Column("status", String, nullable=False),
        Column("why", String),
        Column("kind", String),
        Column("work_date", String),
        Column("absent", Boolean),
        *(Column(name, Integer) for name in numbers),
        Column("cut_rp", BigInteger),
        *(Column(name, String) for name in ("shares", "events", "marks", "unsettled", "leave", "classes")),
        *(Column(name, BigInteger) for name in ("arrived", "departed", "due", "due_local")),
        Column("seen_late_min", Integer),
        Column("seen_early_min", Integer),
        Column("doubts", String),
        sqlite_with_rowid=False,
    )
    renew(op.get_bind())
