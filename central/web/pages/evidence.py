"""The evidence: terminals and how far they are read, outages, gaps, and what keeps how many verdicts provisional."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from central.reports.doubts import Doubted, Kept, doubted, settled_by, what_of
from central.reports.kept import kept
from central.store import recorded, terminals
from central.store.terminals import FOREVER, Incident
from central.texts import Text, _, in_context
from central.timesheet.clock import DAY_S, midnight
from central.web.access import ALL_UNITS
from central.web.page import Look, Page, Shown
from central.web.reach import Reach, people_of, reach
from central.web.verdicts import verdicts_of

DAYS, MOST_DAYS = 7, 31
"""How many dates the page shows, and may show."""
MOST = 200
"""Rows of a table."""
KEPT_S = 60.0
"""How long the list of what keeps verdicts provisional stands."""
KINDS: Mapping[str, Text] = {
    "lost": in_context("incident", "not reachable"),
    "found": in_context("incident", "not reachable"),
    "resumed": in_context("incident", "the gateway was away"),
    "quarantined": in_context("incident", "a record that could not be read as a punch"),
    "unconfirmed": in_context("incident", "a punch was reported and is not in the log yet"),
    "unpublished": in_context("incident", "records from before the gateway's chosen start"),
    "log_lost": in_context("incident", "the terminal's log has lost records"),
}
TEXTS: Mapping[str, Text] = {
    "evidence_page": _("Evidence"),
    "evidence_about": _(
        "What a verdict rests on from {first} to {last}: a missing, late or early verdict is final only where no "
        "better punch can still exist."
    ),
    "evidence_from": _("from"),
    "evidence_until": _("until"),
    "evidence_doubts": _("What keeps verdicts provisional"),
    "evidence_doubts_none": _("No verdict of these dates is provisional."),
    "evidence_verdicts": _("verdicts"),
    "evidence_people": _("people"),
    "evidence_why": _("why"),
    "evidence_settled": _("what settles it"),
    "evidence_dates": _("dates"),
    "evidence_terminals": _("Terminals"),
    "evidence_terminals_none": _("No terminal is known at which people of these units are enrolled."),
    "evidence_terminal": _("terminal"),
    "evidence_gateway": _("site/gateway"),
    "evidence_serial": _("serial number"),
    "evidence_read": _("everything until then is here"),
    "evidence_unread": _("not known yet"),
    "evidence_no_log": _("has no log that can be read to its end"),
    "evidence_out": _("not reachable since {since}"),
    "evidence_outages": _("Outages and other incidents"),
    "evidence_outages_none": _("None on these dates."),
    "evidence_incident": _("what"),
    "evidence_going_on": _("goes on"),
    "evidence_whole_gateway": _("all of the gateway"),
    "evidence_gaps": _("Missing events"),
    "evidence_gaps_about": _(
        "Gateways number their events; these numbers have not arrived. They are sent again by themselves."
    ),
    "evidence_gaps_none": _("None: every event of these dates has arrived."),
    "evidence_count": _("events"),
    "evidence_between": _("recorded between"),
    "evidence_more": _("{count} more are not shown."),
}


class Row(NamedTuple):
    """An incident as it is shown."""

    kind: str
    gateway: str
    terminal: str | None
    begin: str
    end: str | None


class Terminal(NamedTuple):
    """A terminal as it is shown."""

    name: str
    gateway: str
    serial: str
    log: bool
    until: str | None
    out_since: str | None


class Reason(NamedTuple):
    """What keeps verdicts provisional, as it is shown."""

    doubt: Doubted
    what: str
    settled: str


def show(look: Look) -> Shown:
    """Return the page."""
    today = look.today()
    last = look.day_of("until", today)
    first = max(look.day_of("from", last - timedelta(days=DAYS - 1)), last - timedelta(days=MOST_DAYS - 1))
    first = min(first, last)
    zone = look.zone()

    def values() -> Mapping[str, Any]:
        seen = reach(look, first, last)
        begin, end = midnight(first) - DAY_S, midnight(last) + 2 * DAY_S
        incidents = _incidents(look, seen, begin, end)
        gaps = recorded.stream_gaps(look.connection, seen.gateways, begin, end)
        return {
            "first": first,
            "last": last,
            "reasons": list(_reasons(look, seen, first, last)),
            "terminals": list(_terminals(seen, incidents, look.now, zone, look)),
            "incidents": [_row(one, zone, look) for one in incidents[:MOST]],
            "more_incidents": max(0, len(incidents) - MOST),
            "gaps": [
                (one.gateway, one.first, one.last, _moment(one.begin, zone, look), _moment(one.end, zone, look))
                for one in gaps[:MOST]
            ],
            "more_gaps": max(0, len(gaps) - MOST),
            "kinds": KINDS,
        }

    look.report(first=first, last=last)
    return look.show("evidence.html", values, key=(look.viewer.role in ALL_UNITS, look.viewer.units, first, last))


def _incidents(look: Look, seen: Reach, begin: int, end: int) -> list[Incident]:
    """Return the incidents of the reach, the newest first; an outage that two events state stands once."""
    found: dict[tuple[str, str | None, str, int], Incident] = {}
    for one in terminals.incidents(look.connection, seen.gateways, begin, end):
        if not seen.has(one.gateway, one.terminal, one.serial):
            continue
        kind = "lost" if one.kind == "found" else one.kind
        key = one.gateway, one.terminal, kind, one.begin
        before = found.get(key)
        found[key] = one._replace(kind=kind) if before is None or one.end < before.end else before
    return sorted(found.values(), key=lambda one: (-one.begin, one.gateway, one.terminal or ""))


def _row(one: Incident, zone: tzinfo | None, look: Look) -> Row:
    end = None if one.end >= FOREVER else _moment(one.end, zone, look)
    return Row(one.kind, one.gateway, one.terminal, _moment(one.begin, zone, look), end)


def _terminals(
    seen: Reach, incidents: Sequence[Incident], now: datetime, zone: tzinfo | None, look: Look
) -> Iterator[Terminal]:
    open_ = {
        (one.gateway, one.terminal): one.begin
        for one in incidents
        if one.kind == "lost" and one.end >= min(FOREVER, int(now.timestamp()))
    }
    for one in seen.devices:
        out = open_.get((one.gateway, one.name), open_.get((one.gateway, None)))
        yield Terminal(
            one.name,
            one.gateway,
            one.serial,
            one.log,
            None if one.until is None or one.until < 0 else _moment(one.until, zone, look),
            None if out is None else _moment(out, zone, look),
        )


def _reasons(look: Look, seen: Reach, first: date, last: date) -> Iterator[Reason]:
    # Every viewer's comes from one list, which reads the verdicts of everybody on these dates.
    everything: list[Kept] = verdicts_of(look.connection).timed(
        ("kept", first, last, look.language),
        KEPT_S,
        lambda: list(kept(look.connection, look.policies, first, last, look.language)),
    )
    found: Iterable[Kept] = everything
    if seen.people is not None:
        ours = people_of(look, first, last)
        rows: dict[str, list[Any]] = {}
        for row in look.registers.rows("people", [f"person:{key}" for key in sorted(ours)], first, last):
            rows.setdefault(row.record.key, []).append(row)
        found = (one for one in found if _is_seen(look, rows.get(one.person, ()), one))
    for one in doubted(found):
        yield Reason(one, what_of(one, look.language), settled_by(one, look.language))


def _is_seen(look: Look, rows: Sequence[Any], one: Kept) -> bool:
    return any(
        row.since <= one.date
        and (row.until is None or one.date <= row.until)
        and look.scope.holds(row.record.unit, one.person, one.date)
        for row in rows
    )


def _moment(second: int, zone: tzinfo | None, look: Look) -> str:
    try:
        return look.t.moment(datetime.fromtimestamp(second, UTC), zone)
    except (OverflowError, ValueError, OSError):
        return "-"


PAGES = [Page("/evidence", "evidence", TEXTS["evidence_page"], show, in_menu=True)]
