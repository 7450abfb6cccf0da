"""What gateways sent: the tables of version 3, and a key in ``ownership``.

A file of version 3 keeps its tables; those of versions 1 and 2 are brought to version 3 first.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, String

from central.store.migrations import old_versions

revision = "0001"
down_revision = None

_KEY = BigInteger().with_variant(Integer(), "sqlite")
_QUARANTINED = sa.text("type = 'hadir.record.quarantined.v1'")


def upgrade() -> None:
    """Create the tables, or take over those of a file that was written before there were migrations."""
    connection = op.get_bind()
    if sa.inspect(connection).has_table("event"):
        for view in ("punches", "punch_notes", "gone", "unproven_missing"):
            op.execute(f"DROP VIEW IF EXISTS {view}")
        version = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if version < 3:
            _create_what_version_3_added(version)
            old_versions.bring_to_version_3(connection, version)
        else:
            _number_decisions()
    else:
        _create_streams()
        _create_forgotten()
        _create_unproven()
        _create_rejected()
        _create_rejected_counted()
        _create_punches()
        _create_claims()
        _create_ownership("ownership")
        _create_indexes()
    op.create_index("ownership_serial", "ownership", ["serial"])


def _create_what_version_3_added(version: int) -> None:
    if version == 1:
        _create_forgotten()
    _create_unproven()
    _create_rejected_counted()
    _create_claims()
    _create_ownership("ownership")
    _create_indexes()


def _number_decisions() -> None:
    """Give decisions the order in which they were entered as a column; it was SQLite's own number of the row."""
    columns = "serial, since, gateway, entered, decided_by, paper"
    _create_ownership("ownership_new")
    op.execute(f"INSERT INTO ownership_new ({columns}) SELECT {columns} FROM ownership ORDER BY rowid")  # noqa: S608 - our own words
    op.drop_table("ownership")
    op.rename_table("ownership_new", "ownership")


def _create_streams() -> None:
    op.create_table(
        "gateway",
        Column("id", _KEY, primary_key=True),
        Column("name", String, nullable=False, unique=True),
        Column("stream", BigInteger),
        Column("informed", sa.Boolean, nullable=False),
    )
    op.create_table(
        "stream",
        Column("id", _KEY, primary_key=True),
        Column("gateway", BigInteger, ForeignKey("gateway.id"), nullable=False),
        Column("name", String, nullable=False),
        Column("seen", BigInteger, nullable=False),
        Column("assigned", BigInteger, nullable=False),
        Column("found", String, nullable=False),
        Column("predecessor", String),
        Column("predecessor_sequence", BigInteger),
        Column("predecessor_digest", String),
        sa.UniqueConstraint("gateway", "name"),
    )
    op.create_table(
        "gap",
        Column("stream", BigInteger, ForeignKey("stream.id"), primary_key=True),
        Column("first", BigInteger, primary_key=True),
        Column("last", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table("event", *_event_columns(), sa.UniqueConstraint("stream", "sequence", "digest"))
    op.create_table(
        "finding",
        Column("stream", BigInteger, ForeignKey("stream.id"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True),
        Column("kind", String, primary_key=True),
        *(Column(name, String, nullable=False) for name in ("expected", "found", "at")),
        sqlite_with_rowid=False,
    )


def _event_columns() -> list[Column[Any]]:
    return [
        Column("key", _KEY, primary_key=True),
        Column("stream", BigInteger, ForeignKey("stream.id"), nullable=False),
        Column("sequence", BigInteger, nullable=False),
        *(Column(name, String, nullable=False) for name in ("id", "digest", "previous", "type", "received", "body")),
    ]


def _create_forgotten() -> None:
    op.create_table(
        "forgotten",
        Column("stream", BigInteger, ForeignKey("stream.id"), primary_key=True),
        Column("sequence", BigInteger, primary_key=True),
        Column("digest", String, primary_key=True),
        Column("id", String, primary_key=True),
        Column("event", BigInteger, ForeignKey("event.key"), nullable=False),
        sqlite_with_rowid=False,
    )


def _create_unproven() -> None:
    op.create_table("unproven", *_event_columns())


def _create_rejected() -> None:
    op.create_table(
        "rejected",
        Column("topic", String, primary_key=True),
        Column("sha256", String, primary_key=True),
        Column("gateway", String),
        Column("reason", String, nullable=False),
        Column("detail", String, nullable=False),
        Column("size", Integer, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("times", Integer, nullable=False, server_default="1"),
        Column("first", String, nullable=False),
        Column("last", String, nullable=False),
    )


def _create_rejected_counted() -> None:
    op.create_table(
        "rejected_counted",
        Column("gateway", String, primary_key=True),
        Column("reason", String, primary_key=True),
        Column("times", Integer, nullable=False),
        Column("first", String, nullable=False),
        Column("last", String, nullable=False),
        sqlite_with_rowid=False,
    )


def _by_month() -> bool:
    """Return whether punches are kept in partitions, see :mod:`central.store.partitions`."""
    return op.get_bind().dialect.name == "postgresql"


def _create_punches() -> None:
    op.create_table(
        "punch",
        Column("id", String, primary_key=True),
        Column("event", BigInteger, ForeignKey("event.key"), nullable=False),
        Column("terminal", String, nullable=False),
        Column("serial", String, nullable=False),
        Column("pin", String),
        Column("uid", BigInteger),
        # A key of partitions has what they are made by; the id is made from the local time, so it stays unique.
        Column("local_time", String, nullable=False, primary_key=_by_month()),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (local_time)",
    )
    if _by_month():
        op.execute("CREATE TABLE punch_other PARTITION OF punch DEFAULT")
    op.create_index("punch_local_time", "punch", ["local_time"])


def _create_claims() -> None:
    op.create_table(
        "claim",
        # A reference would need the local time beside the id where that is part of the key.
        Column("punch", String, *([] if _by_month() else [ForeignKey("punch.id")]), primary_key=True),
        Column("gateway", BigInteger, ForeignKey("gateway.id"), primary_key=True),
        Column("event", BigInteger, ForeignKey("event.key"), nullable=False),
        sqlite_with_rowid=False,
    )


def _create_ownership(name: str) -> None:
    op.create_table(
        name,
        Column("id", _KEY, primary_key=True),
        *(Column(column, String, nullable=False) for column in ("serial", "since", "gateway", "entered")),
        Column("decided_by", String),
        Column("paper", String),
    )


def _create_indexes() -> None:
    op.create_index("stream_found", "stream", ["gateway", "found"])
    op.create_index("finding_kind", "finding", ["stream", "kind"])
    op.create_index("rejected_gateway", "rejected", ["gateway"])
    op.create_index("event_quarantined", "event", ["id"], sqlite_where=_QUARANTINED, postgresql_where=_QUARANTINED)
