"""What keeps verdicts from being final, read from the database."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime

from sqlalchemy import Connection

from central.json_text import load_json
from central.moments import print_moment
from central.policy.office import OfficePolicies
from central.reports.doubts import Kept, kept_by
from central.reports.messages import message
from central.store import results, terminals
from central.store.engine import chunks, utc
from central.texts import Language
from central.timesheet.clock import DAY_S, midnight
from central.timesheet.facts import Facts


def kept(
    connection: Connection, policies: OfficePolicies, first: date, last: date, language: Language
) -> Iterator[Kept]:
    """Yield what keeps verdicts provisional; logs that are not read as they are now, with their terminals."""
    unread: dict[str, set[date]] = {}
    serials_of: dict[tuple[str | None, str | None], str | None] = {}
    for person, on, content in results.doubted(connection, first, last):
        for one in kept_by(person, on, load_json(content)["reasons"]):
            if one.what == "unread":
                unread.setdefault(person, set()).add(on)
            else:
                yield one._replace(terminal=_with_serials(connection, one, serials_of))
    for people in chunks(sorted(unread)):
        facts = Facts(connection, policies, people, first, last)
        facts.load_recorded(midnight(first), midnight(last) + DAY_S)
        for person in people:
            for on in unread[person]:
                serials, until = facts.least_read(person, on)
                detail = "never_read" if until is None or until < 0 else "read_until"
                at = "" if until is None or until < 0 else print_moment(utc(datetime.fromtimestamp(until, UTC)), None)
                yield Kept(person, on, "unread", ", ".join(serials), message(detail, language, until=at))


_PLACE = re.compile(r"stream (\S+) sequence (\d+)")


def _with_serials(
    connection: Connection, one: Kept, found: dict[tuple[str | None, str | None], str | None]
) -> str | None:
    """Return the terminal of a doubt with its serial number, by which decisions name it."""
    key = one.terminal, one.detail
    place = None if one.terminal is None or one.detail is None else _PLACE.fullmatch(one.detail)
    if one.terminal is None or place is None:
        return one.terminal
    if key not in found:
        serials = terminals.serials_at(connection, place[1], int(place[2]), one.terminal)
        found[key] = f"{one.terminal} ({', '.join(serials)})" if serials else one.terminal
    return found[key]
