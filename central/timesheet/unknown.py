"""What may have been recorded and is not known here, as doubts of one person. Pure.

A gap of a gateway's stream is a doubt of the people enrolled where that gateway reads. A PIN that nobody had is a doubt
of the people of its site who are not enrolled at that terminal, or to whom no punch of that date is attributed.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import NamedTuple

from central.timesheet.attribution import EnrolmentRow, Reader
from central.timesheet.model import Doubt

FOREVER = 1 << 62
"""After every instant."""


class Gap(NamedTuple):
    """Sequences that a stream lacks, with the instants between which their events were recorded."""

    gateway: str
    """``site/gateway``."""
    stream: str
    first: int
    last: int
    start: int
    end: int


class UnknownPunch(NamedTuple):
    """A punch of a PIN that nobody had."""

    reader: Reader
    terminal: str
    pin: str
    on: date
    """Of the terminal's clock."""
    instant: int
    id: str


class Places(NamedTuple):
    """Where a person is enrolled on some dates."""

    terminals: frozenset[str]
    """Serial numbers at which the person has an enrolment of their own."""
    sites: frozenset[str]
    """Sites at all terminals of which the person is enrolled."""
    all_sites: frozenset[str]
    """Those sites, and the sites of the terminals."""


def places_of(
    rows: Iterable[EnrolmentRow], sites_of: Mapping[str, Mapping[str, str]], first: date, last: date
) -> Places:
    """Return where a person is enrolled on any of the dates.

    ``sites_of``: of each serial number, by ISO date from which on it is there, in order; empty: from the beginning.
    """
    terminals, sites = set(), set()
    for row in rows:
        if row.since > last or (row.until is not None and row.until < first):
            continue
        if row.record.terminal is not None:
            terminals.add(row.record.terminal)
        elif row.record.site is not None:
            sites.add(row.record.site)
    beside = {site for serial in terminals for site in _sites_between(sites_of.get(serial, {}), first, last)}
    return Places(frozenset(terminals), frozenset(sites), frozenset(sites | beside))


def _sites_between(sites: Mapping[str, str], first: date, last: date) -> set[str]:
    """Return the sites at which a terminal is on any of the dates."""
    before = [site for since, site in sites.items() if since <= first.isoformat()]
    return {*before[-1:], *(site for since, site in sites.items() if first.isoformat() < since <= last.isoformat())}


def doubts_of(
    places: Places, gaps: Iterable[Gap], unknown: Iterable[UnknownPunch], dates_with_punches: Collection[date]
) -> list[Doubt]:
    """Return the doubts of a person; ``dates_with_punches``: those to which a punch of the person is attributed."""
    found = [
        Doubt(gap.start, gap.end, "gap", None, f"stream {gap.stream} sequences {gap.first}-{gap.last}")
        for gap in gaps
        if gap.gateway.partition("/")[0] in places.all_sites
    ]
    for punch in unknown:
        if punch.reader.site not in places.all_sites:
            continue
        enrolled = punch.reader.serial in places.terminals or punch.reader.site in places.sites
        if not enrolled or punch.on not in dates_with_punches:
            found.append(Doubt(punch.instant, punch.instant, "unattributed", punch.terminal, f"punch {punch.id}"))
    return found
