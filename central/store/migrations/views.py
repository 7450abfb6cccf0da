"""The views that other programs read, as the newest program defines them: made by the migration that changed them last.

The database's functions take fields out of JSON.
"""

from collections.abc import Iterator

from alembic import op
from sqlalchemy import Connection

from central.store.portable import is_postgresql, json_field


def recreate() -> None:
    """Give each view its present definition.

    A migration that changes a view calls this, and the one that did so before does it no more: a view may read columns
    that come later. On a server, views keep their owner and rights, and so what others have built on them.
    """
    connection = op.get_bind()
    for name, query in (*_of_events(connection), *_of_results(connection)):
        if is_postgresql(connection):
            connection.exec_driver_sql(f"CREATE OR REPLACE VIEW {name} AS {query}")
        else:
            connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
            connection.exec_driver_sql(f"CREATE VIEW {name} AS {query}")


def _of_events(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield the views of what gateways sent."""

    def field(of: str, *path: str, integer: bool = False) -> str:
        return json_field(connection, f"{of}.body", *path, integer=integer)

    yield (
        "gone",
        (
            "SELECT * FROM forgotten WHERE NOT EXISTS (SELECT 1 FROM event "
            "WHERE event.stream = forgotten.stream AND event.sequence = forgotten.sequence "
            "AND event.digest = forgotten.digest)"
        ),
    )
    yield (
        "unproven_missing",
        (
            "SELECT * FROM unproven WHERE NOT EXISTS (SELECT 1 FROM event "
            "WHERE event.stream = unproven.stream AND event.sequence = unproven.sequence "
            "AND event.digest = unproven.digest)"
        ),
    )
    yield (
        "punches",
        (
            "SELECT event.key, gateway.name AS gateway, punch.terminal, punch.serial, punch.pin, "  # noqa: S608 - our own words
            f"punch.uid, punch.local_time, {field('event', 'time')} AS time, "
            f"{field('event', 'data', 'state', integer=True)} AS state, "
            f"{field('event', 'data', 'verify', integer=True)} AS verify, "
            f"{field('event', 'data', 'suspect')} AS suspect, "
            "punch.id, stream.name AS stream, event.sequence, event.received, event.body "
            "FROM punch JOIN event ON event.key = punch.event JOIN stream ON stream.id = event.stream "
            "JOIN gateway ON gateway.id = stream.gateway"
        ),
    )
    yield (
        "punch_notes",
        (
            f"SELECT {field('note', 'data', 'punch')} AS punch, note.key, note.type, "  # noqa: S608 - our own words
            "note.sequence, note.received, note.body FROM event AS note JOIN stream ON stream.id = note.stream "
            f"JOIN punch ON punch.id = {field('note', 'data', 'punch')} "
            "JOIN event AS counting ON counting.key = punch.event JOIN stream AS its ON its.id = counting.stream "
            "WHERE note.type IN ('hadir.punch.confirmed.v1', 'hadir.punch.unconfirmed.v1') "
            "AND stream.gateway = its.gateway"
        ),
    )


# Longer than 60 lines: the statements of four views.
def _of_results(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield the views of results and registers."""
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
    yield (
        "days",
        (
            f"SELECT result.person, result.date, {field(day, 'work_date')}, "  # noqa: S608 - our own words
            f"result.unit, result.policy, result.revision, result.status, {field(day, 'kind')}, "
            f"{number(day, 'absent')}, {number(day, 'worked')}, {field(day, 'class_', 'class')}, "
            f"{number(day, 'cut', 'cut_thousandths')}, {number(day, 'cut_rp')}, {number(day, 'planned_min')}, "
            f"{number(day, 'present_min')}, {number(day, 'overtime_min')}, result.inputs, result.engine, result.cause, "
            "result.entered, result.content FROM result WHERE result.revision = (SELECT max(newest.revision) "
            "FROM result AS newest WHERE newest.person = result.person AND newest.date = result.date)"
        ),
    )
    yield (
        "slots",
        (
            f"SELECT days.person, days.date, days.unit, days.revision, {field(slot, 'name', 'slot')}, "  # noqa: S608 - our own words
            f"{field(slot, 'kind')}, {field(slot, 'measure')}, {field(slot, 'status')}, {number(slot, 'demanded')}, "
            f"{moment('due_local', 'due')}, {field(slot, 'punch.id', 'punch')}, {moment('punch.local', 'punched')}, "
            f"{field(slot, 'punch.terminal', 'terminal')}, {number(slot, 'minutes')}, {number(slot, 'missing')}, "
            f"{field(slot, 'class_', 'class')}, {number(slot, 'cut', 'cut_thousandths')}, {number(slot, 'cut_rp')}, "
            f"{field(slot, 'excused')}, {number(slot, 'excused_min')} FROM days, {elements('slots', 'slot')}"
        ),
    )
    yield (
        "reasons",
        (
            f"SELECT days.person, days.date, days.revision, reason.key - {first} AS number, "  # noqa: S608 - our own words
            f"{field(reason, 'step')}, {field(reason, 'what')}, {field(reason, 'slot')}, "
            f"{field(reason, 'policy.decree', 'decree')}, {field(reason, 'policy.article', 'article')}, "
            f"reason.value AS reason FROM days, {elements('reasons', 'reason')}"
        ),
    )
    yield (
        "statements",
        (
            "WITH counting AS (SELECT register_row.id, register_row.kind, "  # noqa: S608 - our own words
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
        ),
    )
