"""Messages about results that wait for the broker, and views of results and registers for other programs."""

from alembic import op
from sqlalchemy import BigInteger, Column, Integer, String

from central.store.portable import is_postgresql, json_field

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
    """Create what other programs read; the database's functions take the fields out of the text."""
    connection = op.get_bind()
    if is_postgresql(connection):
        elements = "json_array_elements(days.content::json -> '{0}') WITH ORDINALITY AS {1}(value, key)".format
        clock, first = "to_char(to_timestamp({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')".format, 1
        day_before = "to_char(min(following.valid_from)::date - 1, 'YYYY-MM-DD')"
    else:
        elements, first = "json_each(days.content, '$.{0}') AS {1}".format, 0
        clock, day_before = "datetime({}, 'unixepoch')".format, "date(min(following.valid_from), '-1 day')"

    def field(column: str, path: str, name: str = "", *, integer: bool = False) -> str:
        return f"{json_field(connection, column, *path.split('.'), integer=integer)} AS {name or path}"

    def number(column: str, path: str, name: str = "") -> str:
        return field(column, path, name, integer=True)

    def moment(path: str, name: str) -> str:
        return f"{clock(json_field(connection, 'slot.value', *path.split('.'), integer=True))} AS {name}"

    day, slot, reason = "content", "slot.value", "reason.value"
    connection.exec_driver_sql(
        f"CREATE VIEW days AS SELECT result.person, result.date, {field(day, 'work_date')}, "  # noqa: S608 - our own words
        f"result.unit, result.policy, result.revision, result.status, {field(day, 'kind')}, "
        f"{number(day, 'absent')}, {number(day, 'worked')}, {field(day, 'class_', 'class')}, "
        f"{number(day, 'cut', 'cut_thousandths')}, {number(day, 'cut_rp')}, {number(day, 'planned_min')}, "
        f"{number(day, 'present_min')}, {number(day, 'overtime_min')}, result.inputs, result.engine, result.cause, "
        "result.entered, result.content FROM result WHERE result.revision = (SELECT max(newest.revision) "
        "FROM result AS newest WHERE newest.person = result.person AND newest.date = result.date)"
    )
    connection.exec_driver_sql(
        f"CREATE VIEW slots AS SELECT days.person, days.date, days.unit, days.revision, {field(slot, 'name', 'slot')}, "  # noqa: S608 - our own words
        f"{field(slot, 'kind')}, {field(slot, 'measure')}, {field(slot, 'status')}, {number(slot, 'demanded')}, "
        f"{moment('due_local', 'due')}, {field(slot, 'punch.id', 'punch')}, {moment('punch.local', 'punched')}, "
        f"{field(slot, 'punch.terminal', 'terminal')}, {number(slot, 'minutes')}, {number(slot, 'missing')}, "
        f"{field(slot, 'class_', 'class')}, {number(slot, 'cut', 'cut_thousandths')}, {number(slot, 'cut_rp')}, "
        f"{field(slot, 'excused')}, {number(slot, 'excused_min')} FROM days, {elements('slots', 'slot')}"
    )
    connection.exec_driver_sql(
        f"CREATE VIEW reasons AS SELECT days.person, days.date, days.revision, reason.key - {first} AS number, "  # noqa: S608 - our own words
        f"{field(reason, 'step')}, {field(reason, 'what')}, {field(reason, 'slot')}, "
        f"{field(reason, 'policy.decree', 'decree')}, {field(reason, 'policy.article', 'article')}, "
        f"reason.value AS reason FROM days, {elements('reasons', 'reason')}"
    )
    connection.exec_driver_sql(
        "CREATE VIEW statements AS WITH counting AS (SELECT register_row.id, register_row.kind, "  # noqa: S608 - our own words
        "register_row.subject, register_row.other, register_row.valid_from, register_row.valid_until, "
        'register_row.content, register_import."by", register_import.paper, register_import.file, '
        "register_row.entered FROM register_row "
        "JOIN register_import ON register_import.id = register_row.import_id "
        "WHERE NOT register_row.withdrawn AND NOT EXISTS (SELECT 1 FROM register_row AS later "
        "WHERE later.kind = register_row.kind AND later.identity = register_row.identity "
        "AND later.id > register_row.id)) "
        "SELECT id, kind, subject, other, valid_from, "
        "CASE WHEN kind IN ('timetables', 'schedules') THEN "
        f"(SELECT {day_before} "
        "FROM counting AS following WHERE following.kind = counting.kind AND following.subject = counting.subject "
        "AND following.valid_from > counting.valid_from) ELSE valid_until END AS valid_until, "
        'content, "by", paper, file, entered FROM counting'
    )
