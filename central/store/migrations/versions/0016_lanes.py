"""Lanes: how many, who holds which, whose each site is; and connections to the broker by lane."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, String

revision = "0016"
down_revision = "0013"


def upgrade() -> None:
    """Create the tables; the connections so far are of the only inbox."""
    op.create_table(
        "lane_plan",
        Column("id", Integer, primary_key=True),
        Column("lanes", Integer, nullable=False),
        Column("root", String, nullable=False),
        Column("client_id", String, nullable=False),
        Column("changed", String, nullable=False),
    )
    op.create_table(
        "lane",
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("epoch", BigInteger, nullable=False),
        Column("worker", String, nullable=False),
        Column("since", String, nullable=False),
        Column("open", Boolean, nullable=False),
    )
    op.create_table(
        "lane_site",
        Column("site", String, primary_key=True),
        Column("lane", Integer, nullable=False),
    )
    op.create_table(
        "lane_session",
        Column("lane", Integer, primary_key=True, autoincrement=False),
        Column("site", String, primary_key=True),
        Column("granted", Boolean, nullable=False),
    )
    op.add_column("contact", Column("lane", Integer, server_default=sa.null()))
