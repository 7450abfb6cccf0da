"""Requests: what waits in the viewer's units, entering a new one, and deciding; notes and answers on a day.

An unknown person and one of another unit are one answer, also in a form.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection

from central.registers.kinds import DECISIONS, SUSPECTS, Column
from central.registers.kinds import KINDS as REGISTER_KINDS
from central.registers.problems import RegisterFileError, printable
from central.registers.words import message
from central.requests import messages as request_messages
from central.requests import requests as acts
from central.requests.messages import STATES, STEPS
from central.requests.requests import KINDS, MAX_PAPER, MAX_TEXT, Person, RequestError
from central.store import marks
from central.store import requests as stored
from central.store.requests import ENTERED, Note, Request, Step
from central.texts import Text, _, into
from central.web.access import ALL_UNITS, Action, Role
from central.web.page import LAST_DAY, Done, Look, Missing, Page, Refusal, Shown
from central.words import COLUMNS, REGISTERS, VALUES, meaning_of, word_of

MOST = 200
"""Requests on the page."""
OF_THE_APPROVAL = frozenset(("by", "paper"))
"""Columns of registers that the approval fills in."""
_OWN_WORDS = frozenset(("request_kind", "request_unknown", "request_own", "request_cell"))
"""Codes whose text on the command line names commands, or columns of files."""
TEXTS: Mapping[str, Text] = {
    **{code: text for code, text in request_messages.MESSAGES.items() if code not in _OWN_WORDS},
    "requests_page": _("Requests"),
    "requests_about": _(
        "A request counts once another person has approved it with a paper. The punch itself is never touched; every "
        "step stays here with its name and moment."
    ),
    "requests_waiting": _("Waiting"),
    "requests_decided": _("Decided"),
    "requests_none": _("Nothing waits here."),
    "requests_new": _("New request"),
    "requests_hint_person": _("the name, or the key if several people have the name"),
    "requests_hint_time": _("such as 16:05"),
    "requests_hint_serial": _("the serial number, as the page Evidence shows it"),
    "requests_any_slot": _("the whole day"),
    "requests_any_suspect": _("all"),
    "requests_choose": _("choose"),
    "requests_person": _(
        "There is no person of this name or key whom this account sees on all of these dates. Correct the name, the "
        "key or the dates."
    ),
    "requests_several": _("Several people have this name; write one of their keys: {keys}."),
    "request_kind": _("This kind of request does not exist; choose one of the list."),
    "request_unknown": _("There is no request {number} any more; the list below shows all."),
    "request_own": _("Request {number} is your own, or about you: another person decides it."),
    "request_cell": _("{column}: at most {most} characters."),
    "requests_field": _("{column}: {mistake}"),
    "requests_what": _("What"),
    "requests_who": _("Person"),
    "requests_steps": _("Steps"),
    "requests_decide": _("Decide"),
    "requests_paper": _("Paper: number and date"),
    "requests_reason": _("Reason"),
    "requests_remark": _("Remark"),
    "requests_approve": _("Approve"),
    "requests_refuse": _("Refuse"),
    "requests_withdraw": _("Withdraw"),
    "requests_beyond": _("on some of its dates the person is in another unit: the personnel agency decides it"),
    "requests_own": _("your own request: another person decides it"),
    "requests_send": _("Send the request"),
    "requests_required": _("required"),
    "requests_form": _("the form names no step of a request"),
    "requests_mistake": _("{mistake}"),
    "requests_kind": _("Kind"),
    "requests_closed": _("Where a period is closed, an approval becomes an adjustment of the next one."),
    "notes_page": _("Notes"),
    "notes_about": _(
        "A superior's note and the person's answer stand beside the verdict; the verdict does not depend on them."
    ),
    "notes_none": _("Nothing is written about this day."),
    "notes_note": _("Note"),
    "notes_answer": _("Answer"),
    "notes_write": _("Write"),
}


HINTS = {
    "person": "requests_hint_person",
    "begin": "requests_hint_time",
    "end": "requests_hint_time",
    "time": "requests_hint_time",
    "terminal": "requests_hint_serial",
}
"""What is typed into a field, by its column."""
LEAVE = ("annual", "sick", "important", "maternity", "long", "duty", "training", "remote", "technical", "permission")
"""Usual kinds of leave, in the order of the list; those that only a policy names follow."""
MOST_NAMES = 500
"""People who are offered by name; of more, a name or a key is typed."""


class Field(NamedTuple):
    """A field of the form."""

    name: str
    head: str
    required: bool
    type: str
    """Of the input; ``select`` for one that is chosen."""
    choices: Sequence[tuple[str, str]]
    """Value and words."""
    value: str


class Shows(NamedTuple):
    """A request as the page shows it."""

    request: Request
    steps: Sequence[Step]
    kind: str
    row: Sequence[tuple[str, str]]
    name: str | None
    """Of the person, where the viewer sees her."""
    may_decide: bool
    beyond: bool
    """Some of its dates are not in the viewer's units."""
    own: bool
    may_withdraw: bool


def show(look: Look) -> Shown:
    """Return the requests of the viewer's people: those that wait, then the newest decided ones."""
    return _list(look, {}, None)


def _list(look: Look, typed: Mapping[str, str], refusal: Refusal | None) -> Shown:
    everything = look.viewer.role in ALL_UNITS
    found = list(_of_viewer(look, everything))
    waiting = [one for one in found if one.steps[-1].what == ENTERED]
    decided = [one for one in found if one.steps[-1].what != ENTERED]
    look.report(people=len({one.request.person for one in found}))

    def values() -> Mapping[str, Any]:
        return {
            "moment": lambda at: look.t.when(at, look.zone()),
            "waiting": waiting,
            "decided": decided,
            "kinds": [(kind, _capital(into(word_of(REGISTERS, kind), look.language))) for kind in _kinds(look)],
            "may_request": look.viewer.may(Action.REQUEST),
            "form_token": look.form_token,
            "states": {name: text.into(look.language) for name, text in STATES.items()},
            "words": {name: text.into(look.language) for name, text in STEPS.items()},
            "most_text": MAX_TEXT,
            "most_paper": MAX_PAPER,
            "problem": None if refusal is None else look.t(refusal.what, **refusal.values),
            "typed": {(typed.get("number"), typed.get("step")): typed},
        }

    return look.show("requests.html", values)


def decide_again(look: Look, form: Mapping[str, str], refusal: Refusal) -> Shown:
    """Return the list with what was typed about a request; what is foreign stays what does not exist."""
    if isinstance(refusal, Missing):
        raise refusal
    return _list(look, form, refusal)


def decide(look: Look, form: Mapping[str, str]) -> Done:
    """Approve, refuse or withdraw a request of the viewer's people."""
    try:
        number, step = int(form.get("number", "")), form.get("step", "")
    except ValueError:
        raise Refusal(400, "requests_form") from None
    found = stored.find(look.connection, number) if 0 < number < 1 << 62 else None
    if found is None or not _is_seen(look, found[0]):
        raise Missing
    request, by = found[0], Person(look.viewer.account, look.viewer.person)
    look.report(person=request.person, people=1)
    paper, reason = form.get("paper", ""), form.get("reason", "")
    match step:
        case "approve" | "refuse" if not look.viewer.may(Action.APPROVE):
            raise Missing
        case "approve" | "refuse" if not _may_decide(look, request):
            raise Refusal(403, "requests_beyond")
        case "approve" | "refuse" if not look.viewer.may_approve(request.person or "", request.requested_by):
            raise Refusal(403, "request_own", number=number)
        case "approve":
            return _done(
                look, lambda one: acts.approve(one, look.policies, number, by, paper, reason, look.now), "requests"
            )
        case "refuse":
            return _done(look, lambda one: acts.refuse(one, number, by, reason, look.now), "requests")
        case "withdraw":
            return _done(look, lambda one: acts.withdraw(one, number, by, reason, look.now), "requests")
    raise Refusal(400, "requests_form")


def show_new(look: Look) -> Shown:
    """Return the form of a new request."""
    kind = look.query.get("kind", "leave")
    if kind not in _kinds(look):
        raise Missing
    return _form(look, kind, {"row-person": look.query.get("person", "")}, None)


def enter_again(look: Look, form: Mapping[str, str], refusal: Refusal) -> Shown:
    """Return the form with what was typed; an unknown person and one of another unit are one answer."""
    kind = form.get("kind", "")
    if kind not in _kinds(look):
        raise refusal
    return _form(look, kind, form, refusal)


def _form(look: Look, kind: str, typed: Mapping[str, str], refusal: Refusal | None) -> Shown:
    names = _names(look)
    look.report(people=len(names))

    def values() -> Mapping[str, Any]:
        columns = [one for one in REGISTER_KINDS[kind].columns if one.name not in OF_THE_APPROVAL]
        fields = [_field(look, kind, one, typed.get(f"row-{one.name}", "")) for one in columns if one.name != "reason"]
        return {
            "kind": kind,
            "kinds": [(name, _capital(into(word_of(REGISTERS, name), look.language))) for name in _kinds(look)],
            "fields": fields,
            "hints": {name: look.t(text) for name, text in HINTS.items()},
            "names": names,
            "reason": typed.get("reason", ""),
            "problem": None if refusal is None else look.t(refusal.what, **refusal.values),
            "wrong": None if refusal is None else refusal.values.get("field"),
            "form_token": look.form_token,
            "most_text": MAX_TEXT,
        }

    return look.show("request_new.html", values)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _field(look: Look, kind: str, column: Column, value: str) -> Field:
    choices = list(_choices(look, kind, column.name))
    if choices and value and value not in {one for one, _ in choices}:
        choices.append((value, value))
    type_ = "select" if choices else "date" if column.name in ("from", "until", "date") else "text"
    head = _capital(into(word_of(COLUMNS, column.name), look.language))
    return Field(column.name, head, column.required, type_, choices, value)


def _choices(look: Look, kind: str, column: str) -> Iterator[tuple[str, str]]:
    """Yield what can be chosen in a field, value and words; nothing where it is typed."""
    match kind, column:
        case "leave", "kind":
            on = look.today()
            rules = (look.policies[name] for name in marks.policies(look.connection) if name in look.policies)
            named = {one for rules_on in rules for one in rules_on(on).leave}
            for name in (*LEAVE, *sorted(named - set(LEAVE))):
                yield name, meaning_of(name, look.language)
        case _, "slot":
            yield "", look.t("requests_any_slot") if kind == "leave" else "-"
            rows = look.registers.rows("timetables")
            for name in sorted({record.slot for row in rows for record in row.records}):
                yield name, meaning_of(name, look.language)
        case _, "decision":
            for name in DECISIONS:
                yield name, into(word_of(VALUES, name), look.language)
        case _, "suspect":
            yield "", "-"
            yield " ".join(SUSPECTS), look.t("requests_any_suspect")
            for name in SUSPECTS:
                yield name, meaning_of(name, look.language)


def _names(look: Look) -> list[tuple[str, str]]:
    """Return key and name of the people whom the viewer sees today, to choose from; none where they are too many."""
    if look.viewer.role is Role.PERSON:
        return []
    on = look.today()
    units = [f"unit:{key}" for key in sorted(look.scope.units(on))]
    rows = look.registers.rows("people", units, on, on, by="other") if units else []
    found = sorted({(row.record.name, row.record.key) for row in rows})
    return [(key, name) for name, key in found] if len(found) <= MOST_NAMES else []


def _key_of(look: Look, person: str) -> str:
    """Return the key of a person whom the viewer sees, by key or by a name that only one of those has.

    Raises Refusal, alike for an unknown person and one of another unit.
    """
    if look.sees(person):
        return look.person(person).key
    words = person.split()
    rows = look.registers.containing("people", max(words, key=len)) if words else []
    named = {row.record.key for row in rows if row.record.name.casefold() == " ".join(words).casefold()}
    keys = sorted(key for key in named if look.sees(key))
    if len(keys) == 1:
        return look.person(keys[0]).key
    if keys:
        raise Refusal(409, "requests_several", keys=", ".join(keys[:20]), field="person")
    look.report(person=person, refused=True)
    raise _no_person()


def _no_person() -> Refusal:
    return Refusal(404, "requests_person", field="person")


def enter(look: Look, form: Mapping[str, str]) -> Done:
    """Enter a request about a person whom the viewer sees on all its dates."""
    kind = form.get("kind", "")
    if kind not in _kinds(look):
        raise Missing
    names = [one.name for one in REGISTER_KINDS[kind].columns if one.name not in OF_THE_APPROVAL]
    row = {name: form.get(f"row-{name}", "") for name in names}
    reason = form.get("reason", "")
    if "reason" in row:
        row["reason"] = " ".join(reason.split())
    person = row.get("person", "").strip()
    if person:
        person = row["person"] = _key_of(look, person)
    elif look.viewer.role not in ALL_UNITS:
        raise _no_person()
    with _refusals(look):
        subject = acts.subject_of(look.connection, kind, row)
    if person and not _sees_all(look, person, subject.first, subject.last):
        raise _no_person()
    by = Person(look.viewer.account, look.viewer.person)
    return _done(look, lambda one: acts.enter(one, look.policies, kind, row, by, reason, look.now), "requests")


def show_notes(look: Look) -> Shown:
    """Return what was noted and answered on a day, and the form for another one."""
    return _notes(look, "", None)


def write_again(look: Look, form: Mapping[str, str], refusal: Refusal) -> Shown:
    """Return the page with what was typed."""
    if isinstance(refusal, Missing):
        raise refusal
    return _notes(look, form.get("text", ""), refusal)


def _notes(look: Look, typed: str, refusal: Refusal | None) -> Shown:
    person, on = _noted(look)
    found = stored.notes_of(look.connection, person, on, on)

    def values() -> Mapping[str, Any]:
        return {
            "person": person,
            "on": on,
            "moment": lambda at: look.t.when(at, look.zone()),
            "notes": found,
            "kinds": {"note": look.t("notes_note"), "answer": look.t("notes_answer")},
            "writes": _writes(look),
            "typed": typed,
            "problem": None if refusal is None else look.t(refusal.what, **refusal.values),
            "may_request": look.viewer.may(Action.REQUEST),
            "form_token": look.form_token,
            "most_text": MAX_TEXT,
        }

    return look.show("notes.html", values)


def write_note(look: Look, form: Mapping[str, str]) -> Done:
    """Store a superior's note, or the person's own answer."""
    person, on = _noted(look)
    what = _writes(look)
    if what is None:
        raise Missing
    by, text = look.viewer.account, form.get("text", "")
    to = look.url("notes", person=person, date=on)
    return Done(to, _change(look, lambda one: acts.note(one, person, on, what, by, text, look.now)))


def notes_of(look: Look, person: str, on: date) -> list[Note]:
    """Return the notes of a day; the caller has checked that the viewer sees it."""
    return stored.notes_of(look.connection, person, on, on)


def _noted(look: Look) -> tuple[str, date]:
    on = look.day_of("date", look.today())
    seen = look.person(look.parameters["person"], on, on)
    if not seen.is_seen(on):
        raise Missing
    return seen.key, on


def _writes(look: Look) -> str | None:
    """Return what the viewer writes on a day: a note, or as the person an answer."""
    if look.viewer.may(Action.ANSWER):
        return "answer"
    return "note" if look.viewer.may(Action.NOTE) else None


def _kinds(look: Look) -> Sequence[str]:
    return KINDS if look.viewer.may(Action.REQUEST) else ()


def _is_seen(look: Look, request: Request) -> bool:
    if request.person is None:
        return look.viewer.role in ALL_UNITS
    return look.scope.holds(request.unit, request.person, date.fromisoformat(request.first))


def _may_decide(look: Look, request: Request) -> bool:
    """Return whether all dates of a request are in the viewer's units: whoever sees some of them sees it."""
    last = None if request.last is None else date.fromisoformat(request.last)
    return request.person is None or _sees_all(look, request.person, date.fromisoformat(request.first), last)


def _sees_all(look: Look, person: str, first: date, last: date | None) -> bool:
    """Return whether the viewer sees a person on all dates of a row; of those without a row, she is in no unit."""
    if look.viewer.role in ALL_UNITS:
        return True
    rows = look.registers.rows("people", [f"person:{person}"], first, last or date.max)
    return bool(rows) and all(
        look.scope.holds(row.record.unit, person, on)
        for row in rows
        for on in (max(row.since, first), min(row.until or date.max, last or row.since, LAST_DAY))
    )


def _of_viewer(look: Look, everything: bool) -> Iterator[Shows]:
    # A few hundred of the newest are looked through; older ones that wait come first.
    waiting = stored.listing(look.connection, what=ENTERED, limit=10 * MOST)
    rest = [one for one in stored.listing(look.connection, limit=10 * MOST) if one[1][-1].what != ENTERED]
    seen = [(request, steps) for request, steps in [*waiting, *rest] if everything or _is_seen(look, request)][:MOST]
    keys = sorted({request.person for request, _ in seen if request.person is not None})
    rows = look.registers.rows("people", [f"person:{key}" for key in keys]) if keys else []
    names = {row.record.key: row.record.name for row in rows}
    for request, steps in seen:
        yield _shown(look, request, steps, names)


def _shown(look: Look, request: Request, steps: Sequence[Step], names: Mapping[str, str]) -> Shows:
    content: dict[str, str] = _row(request)
    if content.get("reason") == " ".join(steps[0].reason.split()):
        del content["reason"]  # it stands with the first step
    row = [
        (_capital(into(word_of(COLUMNS, head), look.language)), _worded(look, head, text))
        for head, text in content.items()
        if text.strip()
    ]
    waits = steps[-1].what == ENTERED
    approves = look.viewer.may(Action.APPROVE)
    allowed = look.viewer.may_approve(request.person or "", request.requested_by)
    ours = look.viewer.person is not None and look.viewer.person == request.requester
    decides = waits and approves and allowed and not ours
    within = decides and _may_decide(look, request)
    return Shows(
        request,
        steps,
        _capital(into(word_of(REGISTERS, request.kind), look.language)),
        row,
        None if request.person is None else names.get(request.person, request.person),
        may_decide=within,
        beyond=decides and not within,
        own=waits and approves and (not allowed or ours),
        may_withdraw=waits and request.requested_by == look.viewer.account,
    )


def _row(request: Request) -> dict[str, str]:
    found: dict[str, str] = acts.row_of(request)
    return {head: text for head, text in found.items() if head not in OF_THE_APPROVAL and head != "person"}


def _worded(look: Look, column: str, text: str) -> str:
    """Return a value of a row in words, where it is one that the form offers."""
    match column:
        case "kind" | "slot" | "suspect":
            return ", ".join(meaning_of(word, look.language) for word in text.split())
        case "decision":
            return into(word_of(VALUES, text), look.language)
        case "from" | "until" | "date":
            with suppress(ValueError):
                return look.t.date(date.fromisoformat(text))
    return text


def _done(look: Look, act: Callable[[Connection], object], page: str) -> Done:
    return Done(look.url(page), _change(look, act))


def _change(look: Look, act: Callable[[Connection], object]) -> Callable[[Connection], None]:
    def change(connection: Connection) -> None:
        with _refusals(look):
            act(connection)

    return change


@contextmanager
def _refusals(look: Look) -> Iterator[None]:
    """Convert what a step refuses into a page that says so."""
    try:
        yield
    except RequestError as error:
        values = dict(error.values)
        if "column" in values:
            values = {**values, "field": values["column"], "column": word_of(COLUMNS, str(values["column"]))}
        if "at" in values:
            values["at"] = look.t.when(str(values["at"]), look.zone())
        raise Refusal(_STATUS.get(error.code, 400), error.code, **values) from None
    except RegisterFileError as error:
        raise _mistake(look, error) from None


def _mistake(look: Look, error: RegisterFileError) -> Refusal:
    """Return what is wrong with a row, by the names of the form's fields."""
    found, field = [], None
    for problem in error.problems[:3]:
        name = problem.place.rpartition(": ")[2]
        text = message(problem.code, problem.values, look.language)
        if name in COLUMNS:
            field = field or name
            text = look.t("requests_field", column=COLUMNS[name], mistake=text)
        found.append(printable(text))
    return Refusal(400, "requests_mistake", mistake="; ".join(found), field=field)


_STATUS = dict.fromkeys(("request_approved", "request_refused", "request_withdrawn"), 409) | dict.fromkeys(
    ("request_own", "request_not_own"), 403
)
"""What a browser gets where it is not the form that is wrong."""
PAGES = [
    Page("/requests", "requests", TEXTS["requests_page"], show, in_menu=True, post=decide, again=decide_again),
    Page("/request/new", "request_new", TEXTS["requests_new"], show_new, Action.REQUEST, post=enter, again=enter_again),
    Page("/notes/{person:path}", "notes", TEXTS["notes_page"], show_notes, post=write_note, again=write_again),
]
