"""What keeps how many verdicts provisional, and which decision or import would settle it. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

from central.reports.messages import message, patterned
from central.texts import Language, _

CLOCKS = frozenset(
    ("step", "drift", "unverified", "unmeasured", "host_time", "suspect", "arrival", "state_variants"),
)
"""Doubts about the clock or the state of a punch that is known."""
SETTLED_BY = {
    "outage": "settle_outage",
    "gap": "settle_gap",
    "unread": "settle_unread",
    "unattributed": "settle_unattributed",
    "unenrolled": "settle_unenrolled",
    "quarantined": "settle_outage",
    "unconfirmed": "settle_outage",
    "unpublished": "settle_outage",
    "log_lost": "settle_outage",
}
"""The sentence that says what settles a doubt."""
HOW = {"outage": "how_outage", "unread": "how_unread", "unattributed": "how_unattributed"}
"""Commands that help to settle a doubt, for those who work at the command line."""

_DETAILS = (
    (re.compile(r"stream (?P<stream>\S+) sequences? (?P<numbers>\S+)"), _("stream {stream} sequence {numbers}")),
    (
        re.compile(r"stream (?P<stream>\S+) up to sequence (?P<number>\S+)"),
        _("stream {stream} up to sequence {number}"),
    ),
    (re.compile(r"gateway (?P<gateway>\S+) offline"), _("gateway {gateway} is not connected")),
    (re.compile(r"gateway (?P<gateway>\S+) out of contact"), _("the centre had no connection to gateway {gateway}")),
    (re.compile(r"punch (?P<id>\S+)"), _("punch {id}")),
)
"""Details of doubts as central.timesheet.unknown writes them: they enter digests, so in one language."""


class Kept(NamedTuple):
    """A person's date of which something is provisional, and one doubt that keeps it so."""

    person: str
    date: date
    what: str
    terminal: str | None
    detail: str | None


class Doubted(NamedTuple):
    """One doubt, with what it keeps provisional."""

    what: str
    terminal: str | None
    detail: str | None
    verdicts: int
    """Dates of people."""
    people: int
    first: date
    last: date


def kept_by(person: str, on: date, reasons: Iterable[Mapping[str, Any]]) -> Iterator[Kept]:
    """Yield the doubts of a verdict, each once however many slots it keeps provisional."""
    named = (reason for reason in reasons if reason["step"] == "doubt")
    found = dict.fromkeys((reason["what"], reason.get("terminal"), reason.get("detail")) for reason in named)
    for what, terminal, detail in found:
        if what in CLOCKS:
            yield Kept(person, on, what, None, None)
        elif what == "unattributed":
            yield Kept(person, on, what, terminal, None)
        else:
            yield Kept(person, on, what, terminal, detail)


def doubted(kept: Iterable[Kept]) -> list[Doubted]:
    """Return the doubts, those first that keep most verdicts provisional."""
    groups: dict[tuple[str, str | None, str | None], set[tuple[str, date]]] = {}
    for one in kept:
        groups.setdefault((one.what, one.terminal, one.detail), set()).add((one.person, one.date))
    found = [
        Doubted(
            *key,
            verdicts=len(days),
            people=len({person for person, _ in days}),
            first=min(on for _, on in days),
            last=max(on for _, on in days),
        )
        for key, days in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.verdicts, one.what, one.terminal or "", one.detail or ""))


def line(one: Doubted, language: Language) -> str:
    """Return a doubt as a line for people: how many verdicts, why, where, and what settles it."""
    dates = " - ".join(dict.fromkeys((one.first.isoformat(), one.last.isoformat())))
    what, settled = what_of(one, language), settled_by(one, language)
    if one.what in HOW:
        settled = f"{settled} {message(HOW[one.what], language)}"
    return message(
        "doubted", language, verdicts=one.verdicts, people=one.people, dates=dates, what=what, settled=settled
    )


def what_of(one: Doubted, language: Language) -> str:
    """Return why verdicts are provisional, and where."""
    what = message("suspect_punch" if one.what == "suspect" else one.what, language)
    if one.terminal:
        what += message("at_terminal", language, terminal=one.terminal)
    return f"{what} ({detail_words(one.detail, language)})" if one.detail else what


def detail_words(detail: str, language: Language) -> str:
    """Return the detail of a doubt in a language; one of no known form stays as it is."""
    return patterned(_DETAILS, detail, language)


def settled_by(one: Doubted, language: Language) -> str:
    """Return what settles a doubt, for whoever decides it; commands are not among it."""
    return message(SETTLED_BY.get(one.what, "settle_clock"), language)
