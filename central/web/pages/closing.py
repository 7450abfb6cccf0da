"""Closing a unit's period on a page: what is still open, closing it, what was closed, and the files made then."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import Connection

from central.closing import messages as closing_messages
from central.closing.adjust import thousandths
from central.closing.close import ClosingError, Draft, draft, prepare
from central.reports.messages import MESSAGES as REASONS
from central.sheets.source import names_of
from central.store import closings
from central.store.closings import Closing
from central.texts import Text, _, in_context
from central.web.access import Action
from central.web.page import Done, Look, Missing, Page, Refusal, Sent, Shown
from central.words import print_cut

MOST = 50
"""People and reasons that are listed; the other verdicts are counted."""
MAX_PAPER = 200
TEXTS: Mapping[str, Text] = {
    **{
        code: closing_messages.MESSAGES[code]
        for code in ("closing_no_verdicts", "closing_not_over", "closing_changing")
    },
    "closing_no_unit": _("There is no unit {unit}."),
    "closing_unjudged": _(
        "{marks} changes about these dates are still to be judged. That takes minutes as a rule: load the page again. "
        "If it stays, inform the administrator."
    ),
    "closing_all_elsewhere": _(
        "The period that holds {date} was closed with other units for all people of {unit}: see the list of closed "
        "periods."
    ),
    "closing_open": _(
        "{open} verdicts are open, provisional or missing, or could not be judged. Settle them first, or choose "
        "below to close although they are not final: they cut nothing, and what becomes final later is an adjustment "
        "of the next period."
    ),
    "closing_twice": _(
        "The period of {unit} from {first} to {last} was closed on {entered} by {closed_by} (closing {number}). It "
        "does not move: what becomes known later is an adjustment of the next period."
    ),
    "closings_page": _("Closing"),
    "closings_about": _(
        "A closed period does not move: totals and sheets stay as they are. What becomes known later is an adjustment, "
        "which the next closing carries."
    ),
    "closings_none": _("No period was closed yet."),
    "closings_of": _("Closed periods"),
    "closings_unit": _("Unit"),
    "closings_period": _("Period"),
    "closings_when": _("Closed"),
    "closings_paper": _("Paper"),
    "closings_files": _("Files"),
    "closings_print": _("to print"),
    "closings_choose": _("Close a period"),
    "closings_date": _("A date of the period"),
    "closings_see": _("See what is open"),
    "closing_page": _("Close the period"),
    "closing_people": _("people"),
    "closing_open_count": _("not final"),
    "closing_adjustment_count": _("adjustments of closed periods"),
    "closing_not_final": _("What is not final cuts nothing; once it is, it becomes an adjustment of the next period."),
    "closing_adjusts": _("Later knowledge about closed periods, which this closing carries:"),
    "closing_adjusted": _("cut of {first} to {last}: {before} when it was closed, now {after}"),
    "closing_adjusted_new": _("cut of {first} to {last}: {after}; the person was not among those of its closing"),
    "closing_with_open": _("close although verdicts are not final"),
    "closing_go": _("Close it for good"),
    "closing_paper_form": _("write the paper: number and date, at most 200 characters"),
    "closing_more": _("and {count} more"),
    "closing_others": _("and {count} other dates"),
    "closing_damaged": _("the file {name} of closing {number} is not the one that was stored"),
    "closing_no_verdict": _("no verdict in the period; a plan or a policy is missing"),
    "closing_window": _("a window has not ended"),
    "closing_set_aside": _(
        "a change of these dates could not be judged for a fault of the program; the administrator has it judged again "
        "after an update, and what it brings is an adjustment"
    ),
}


FILES: Mapping[str, Text] = {
    "recap": in_context("file", "Recap"),
    "annex": in_context("file", "Annex"),
    "full": in_context("file", "Full attendance"),
    "totals": in_context("file", "Totals"),
    "adjustments": in_context("file", "Adjustments"),
}


class OpenDay(NamedTuple):
    """Verdicts of a person that are not final for one reason."""

    person: str | None
    """None: it is about more than one."""
    name: str
    on: date
    why: str
    others: int = 0
    """Further dates of the same person with the same reason."""


class Adjusted(NamedTuple):
    """What a closing carries of a person's closed period."""

    person: str
    name: str
    on: date
    """The first date that is judged otherwise by now; its page states why."""
    others: int
    """Further such dates."""
    cut: str


def show(look: Look) -> Shown:
    """Return the closed periods of the viewer's units, and the way to close another one."""
    today = look.today()
    seen = {unit.key: unit.name for unit in look.units(today)}
    found = [one for one in closings.listing(look.connection) if _is_seen(look, one)]
    names = {one.id: look.tree.on(_tree_date(look, one))[one.unit].name for one in found}
    order = list(FILES)
    files = {
        one.id: sorted(
            closings.files_of(look.connection, one.id),
            key=lambda file: (
                order.index(stem) if (stem := file[0].partition(".")[0]) in FILES else len(order),
                file[0],
            ),
        )
        for one in found
    }

    def values() -> Mapping[str, Any]:
        return {
            "moment": lambda at: look.t.when(at, look.zone()),
            "closings": list(reversed(found)),
            "names": names,
            "files": files,
            "file_words": lambda name: _file_words(look, name),
            "may_close": look.viewer.may(Action.CLOSE),
            "units": list(seen.items()),
            "last_month": date.fromordinal(today.replace(day=1).toordinal() - 1),
        }

    return look.show("closings.html", values)


def _file_words(look: Look, name: str) -> str:
    """Return what a file is, and its format: names of files say nothing to officials."""
    stem, _dot, suffix = name.rpartition(".")
    title = FILES.get(stem)
    form = {"xlsx": "Excel", "html": look.t("closings_print")}.get(suffix, suffix.upper())
    return name if title is None else f"{title.into(look.language)} ({form})"


def _is_seen(look: Look, closing: Closing) -> bool:
    """Return whether the viewer saw the unit when the period ended: it may have ended, or moved, since."""
    return closing.unit in look.scope.units(_tree_date(look, closing))


def _tree_date(look: Look, closing: Closing) -> date:
    """Return the last date of a closed period, or the first one where the unit ended within it."""
    return closing.last if closing.unit in look.tree.on(closing.last) else closing.first


def show_draft(look: Look) -> Shown:
    """Return what closing a period would fix, with the form that does it."""
    return _shown(look, {}, None)


def close_again(look: Look, form: Mapping[str, str], refusal: Refusal) -> Shown:
    """Return the page with what was typed."""
    if isinstance(refusal, Missing):
        raise refusal
    return _shown(look, form, refusal)


def _shown(look: Look, typed: Mapping[str, str], refused: Refusal | None) -> Shown:
    unit, on = _unit_and_date(look)
    read, cannot = _draft(look, unit, on)
    refusal = cannot or refused
    look.report(unit=unit, first=read.first if read else on, last=read.last if read else on, people=_people(read))

    def values() -> Mapping[str, Any]:
        days = [] if read is None else _open_days(read, look)
        count = 0 if read is None else len(read.still_open)
        return {
            "unit": unit,
            "name": look.unit(unit, look.today()).name,
            "on": on,
            "read": read,
            "people": _people(read),
            "problem": None if refusal is None else look.t(refusal.what, **refusal.values),
            "open": days[:MOST],
            "more": count - sum(1 + one.others for one in days[:MOST]),
            "count": count,
            "adjusted": [] if read is None else list(_adjusted(read, look)),
            "more_adjusted": 0 if read is None else max(0, len(read.adjustments) - MOST),
            "paper": typed.get("paper", ""),
            "with_open": typed.get("with-open") == "yes",
            "form_token": look.form_token,
        }

    return look.show("closing.html", values)


def close_period(look: Look, form: Mapping[str, str]) -> Done:
    """Close the period, on a paper; as it was read, or not at all."""
    unit, on = _unit_and_date(look)
    paper = form.get("paper", "").strip()
    if not paper or len(paper) > MAX_PAPER or not paper.isprintable():
        raise Refusal(400, "closing_paper_form")
    read, refusal = _draft(look, unit, on)
    if read is None or refusal is not None:
        raise refusal or Missing()
    with_open = form.get("with-open") == "yes"
    with _refusals(look):
        account = look.viewer.account
        prepared = prepare(look.connection, read, account, paper, look.now, with_open=with_open, settings=look.settings)

    def change(connection: Connection) -> None:
        with _refusals(look):
            prepared.store(connection)

    look.report(unit=unit, first=read.first, last=read.last, people=_people(read))
    return Done(look.url("closings"), change)


def _unit_and_date(look: Look) -> tuple[str, date]:
    unit = look.query.get("unit", "")
    look.unit(unit, look.today())
    return unit, look.day_of("date", look.today())


def _draft(look: Look, unit: str, on: date) -> tuple[Draft | None, Refusal | None]:
    try:
        with _refusals(look):
            return draft(look.connection, look.policies, unit, on, look.now), None
    except Refusal as refusal:
        return None, refusal


@contextmanager
def _refusals(look: Look) -> Iterator[None]:
    """Convert what a closing refuses into a page that says so, with dates and units as pages have them."""
    try:
        yield
    except ClosingError as error:
        values = {name: _worded(look, name, value) for name, value in error.values.items()}
        raise Refusal(409, error.code, **values) from None


def _worded(look: Look, name: str, value: object) -> object:
    match name:
        case "first" | "last" | "date":
            return look.t.day(date.fromisoformat(str(value)))
        case "entered":
            return look.t.when(str(value), look.zone())
        case "unit":
            unit = look.tree.on(look.today()).get(str(value))
            return value if unit is None else unit.name
    return value


def _people(read: Draft | None) -> int:
    return 0 if read is None else len({one.person for one in read.totals})


def _open_days(read: Draft, look: Look) -> Sequence[OpenDay]:
    window = look.t("closing_window")
    missing = look.t("closing_no_verdict")
    found = [(person, read.last, missing) for person in read.still_open.unjudged]
    found += [(person, date.fromisoformat(on), window) for person, on in read.still_open.open_]
    for person, on, whats in read.still_open.provisional:
        names = ("suspect_punch" if what == "suspect" else what for what in whats)
        why = ", ".join(REASONS[name].into(look.language) for name in names)
        found.append((person, date.fromisoformat(on), why))
    aside = look.t("closing_set_aside")
    found += [
        (subject.removeprefix("person:"), date.fromisoformat(first), aside)
        for subject, first, _last in read.still_open.set_aside
        if subject.startswith("person:")
    ]
    grouped: dict[tuple[str, str], list[date]] = {}
    for person, day, why in found:
        grouped.setdefault((person, why), []).append(day)
    named = names_of(look.registers, {person for person, _ in list(grouped)[:MOST]})
    others = [
        OpenDay(None, subject, date.fromisoformat(first), aside)
        for subject, first, _last in read.still_open.set_aside
        if not subject.startswith("person:")
    ]
    return others + [
        OpenDay(person, named.get(person, (person, None))[0], min(dates), why, len(dates) - 1)
        for (person, why), dates in grouped.items()
    ]


def _adjusted(read: Draft, look: Look) -> Iterator[Adjusted]:
    shown = read.adjustments[:MOST]
    named = names_of(look.registers, {one.person for one in shown})
    for one in shown:
        content = json.loads(one.content)
        first, last = date.fromisoformat(one.first), date.fromisoformat(one.last)
        before, after = (
            None if row is None else print_cut(thousandths(row["cut"]), row["cut_rp"], look.language)
            for row in (content["before"], content["after"])
        )
        code = "closing_adjusted" if before is not None else "closing_adjusted_new"
        cut = look.t(code, first=look.t.day(first), last=look.t.day(last), before=before, after=after)
        dates = [date.fromisoformat(change["date"]) for change in content["changes"]] or [first]
        yield Adjusted(one.person, named.get(one.person, (one.person, None))[0], dates[0], len(dates) - 1, cut)


def show_file(look: Look) -> Sent:
    """Return a file that was made at a closing, byte for byte."""
    text = look.parameters["number"]
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0
    closing = closings.find(look.connection, number)
    if closing is None or not _is_seen(look, closing):
        raise Missing
    found = closings.file_of(look.connection, number, look.parameters["name"])
    if found is None:
        raise Missing
    people, _adjustments = closings.counts_of(look.connection, number)
    look.report(unit=closing.unit, first=closing.first, last=closing.last, people=people)
    kept, digest = found
    if sha256(kept.content).hexdigest() != digest:
        raise Refusal(409, "closing_damaged", number=number, name=kept.name)
    return Sent(f"{closing.unit}-{closing.first:%Y-%m}-{kept.name}".replace("/", "-"), kept.media_type, kept.content)


PAGES = [
    Page("/closings", "closings", TEXTS["closings_page"], show, in_menu=True, watched=False),
    Page("/closings/{number}/{name}", "closing_file", TEXTS["closings_files"], show_file),
    Page("/closing", "closing", TEXTS["closing_page"], show_draft, Action.CLOSE, post=close_period, again=close_again),
]
