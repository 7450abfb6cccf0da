"""Messages about results that wait for the broker, and views of results and registers for other programs."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String

revision = "0004"
down_revision = "0003"

_KEY = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Create the table, the index that summaries are read by, and the views."""
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
    _create_views()


def _create_views() -> None:
    """Create what other programs read; SQLite's functions take the fields out of the text."""
    op.execute(
        "CREATE VIEW days AS SELECT result.person, result.date, json_extract(content, '$.work_date') AS work_date, "
        "result.unit, result.policy, result.revision, result.status, json_extract(content, '$.kind') AS kind, "
        "json_extract(content, '$.absent') AS absent, json_extract(content, '$.worked') AS worked, "
        "json_extract(content, '$.class_') AS class, json_extract(content, '$.cut') AS cut_thousandths, "
        "json_extract(content, '$.cut_rp') AS cut_rp, json_extract(content, '$.planned_min') AS planned_min, "
        "json_extract(content, '$.present_min') AS present_min, "
        "json_extract(content, '$.overtime_min') AS overtime_min, result.inputs, result.engine, result.cause, "
        "result.entered, result.content FROM result WHERE result.revision = (SELECT max(newest.revision) "
        "FROM result AS newest WHERE newest.person = result.person AND newest.date = result.date)"
    )
    slot = "json_extract(slot.value, '$.{}') AS {}".format
    op.execute(
        f"CREATE VIEW slots AS SELECT days.person, days.date, days.unit, days.revision, {slot('name', 'slot')}, "  # noqa: S608 - our own words
        f"{slot('kind', 'kind')}, {slot('measure', 'measure')}, {slot('status', 'status')}, "
        f"{slot('demanded', 'demanded')}, "
        "datetime(json_extract(slot.value, '$.due_local'), 'unixepoch') AS due, "
        f"{slot('punch.id', 'punch')}, "
        "datetime(json_extract(slot.value, '$.punch.local'), 'unixepoch') AS punched, "
        f"{slot('punch.terminal', 'terminal')}, {slot('minutes', 'minutes')}, {slot('missing', 'missing')}, "
        f"{slot('class_', 'class')}, {slot('cut', 'cut_thousandths')}, {slot('cut_rp', 'cut_rp')}, "
        f"{slot('excused', 'excused')}, {slot('excused_min', 'excused_min')} "
        "FROM days, json_each(days.content, '$.slots') AS slot"
    )
    op.execute(
        "CREATE VIEW reasons AS SELECT days.person, days.date, days.revision, reason.key AS number, "
        "json_extract(reason.value, '$.step') AS step, json_extract(reason.value, '$.what') AS what, "
        "json_extract(reason.value, '$.slot') AS slot, json_extract(reason.value, '$.policy.decree') AS decree, "
        "json_extract(reason.value, '$.policy.article') AS article, reason.value AS reason "
        "FROM days, json_each(days.content, '$.reasons') AS reason"
    )
    op.execute(
        "CREATE VIEW statements AS WITH counting AS (SELECT register_row.id, register_row.kind, "
        "register_row.subject, register_row.other, register_row.valid_from, register_row.valid_until, "
        'register_row.content, register_import."by", register_import.paper, register_import.file, '
        "register_row.entered FROM register_row "
        "JOIN register_import ON register_import.id = register_row.import_id "
        "WHERE NOT register_row.withdrawn AND NOT EXISTS (SELECT 1 FROM register_row AS later "
        "WHERE later.kind = register_row.kind AND later.identity = register_row.identity "
        "AND later.id > register_row.id)) "
        "SELECT id, kind, subject, other, valid_from, "
        "CASE WHEN kind IN ('timetables', 'schedules') THEN (SELECT date(min(following.valid_from), '-1 day') "
        "FROM counting AS following WHERE following.kind = counting.kind AND following.subject = counting.subject "
        "AND following.valid_from > counting.valid_from) ELSE valid_until END AS valid_until, "
        'content, "by", paper, file, entered FROM counting'
    )
