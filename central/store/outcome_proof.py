"""Whether stored outcomes are what the stored verdicts come to; and all of them made anew, in little memory."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, select, tuple_

from central.json_text import load_json
from central.store.engine import among, delete_many
from central.store.outcomes import OUTCOME, Of, add, row_of
from central.store.results import RESULT
from central.timesheet.outcome import Outcome, not_judged, outcome_of

PAGE = 500
"""Revisions that are read at once."""
Key = tuple[str, str, int]
"""Person, date and revision."""
BEGIN: Key = ("", "", 0)
_READ = tuple(RESULT.c[name] for name in (*Of._fields, "content"))
_OF = RESULT.c.person, RESULT.c.date, RESULT.c.revision
_KEY = OUTCOME.c.person, OUTCOME.c.date, OUTCOME.c.revision

log = structlog.get_logger("outcomes")


class Page(NamedTuple):
    """What was found of some revisions, in the order of their keys."""

    new: Sequence[tuple[Of, Outcome]]
    """The outcomes that are missing or other ones."""
    gone: Collection[Key]
    """Outcomes without a revision."""
    last: Key | None
    """The last revision; None where there are no more."""

    @property
    def wrong(self) -> set[Key]:
        """Return the keys at which the table is not what it should be."""
        return {*self.gone, *(of[:3] for of, _ in self.new)}


def renew(connection: Connection) -> int:
    """Make every outcome anew that is not what its revision comes to; return how many."""
    wrong, after = 0, BEGIN
    while True:
        page = renew_page(connection, after)
        wrong += len(page.wrong)
        if page.last is None:
            return wrong
        after = page.last


def renew_page(connection: Connection, after: Key) -> Page:
    """Do so for the next revisions behind a key; return what was wrong."""
    page = check_page(connection, after)
    if page.wrong:
        delete_many(connection, OUTCOME, ("person", "date", "revision"), list(page.wrong))
        add(connection, page.new)
    return page


def check_page(connection: Connection, after: Key) -> Page:
    """Return what is wrong with the outcomes of the next revisions behind a key."""
    revisions = connection.execute(select(*_READ).where(tuple_(*_OF) > after).order_by(*_OF).limit(PAGE)).all()
    last = tuple(revisions[-1][:3]) if revisions else None
    rows = select(OUTCOME).where(tuple_(*_KEY) > after)
    stored = _rows(connection.execute(rows if last is None else rows.where(tuple_(*_KEY) <= last)))
    return Page(list(_differing(revisions, stored)), stored.keys() - {tuple(row[:3]) for row in revisions}, last)


def is_right(connection: Connection, person: str, on: date, revision: int) -> bool:
    """Return whether the outcome of a revision is what its content comes to."""
    key = [(person, on.isoformat(), revision)]
    page = connection.execute(select(*_READ).where(among(_OF, key)))
    stored = _rows(connection.execute(select(OUTCOME).where(among(_KEY, key))))
    return next(_differing(page, stored), None) is None


def _rows(found: Iterable[Any]) -> dict[Any, Any]:
    return {tuple(row[:3]): tuple(row) for row in found}


def _differing(page: Iterable[Any], stored: Mapping[Any, Any]) -> Iterator[tuple[Of, Outcome]]:
    """Yield the revisions of a page of which the stored row is not the outcome, with the outcome."""
    for row in page:
        of, outcome = Of(*row[:-1]), _outcome(row)
        if stored.get(of[:3]) != row_of(of, outcome):
            yield of, outcome


def _outcome(row: Any) -> Outcome:
    """Return the outcome of a revision; of content that no version has written, that the date is not judged."""
    try:
        return outcome_of(load_json(row.content))
    except (ValueError, LookupError, TypeError, AttributeError):
        log.warning("verdict_unreadable", date=row.date, revision=row.revision)
        return Outcome(not_judged("unreadable"), None)
