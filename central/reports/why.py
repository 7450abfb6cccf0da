"""Why a day is judged as it is, in plain words: plan, punches with evidence, policy, doubts, revisions. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from central.moments import print_moment
from central.reports.doubts import detail_words
from central.reports.messages import FIELDS, MESSAGES, message, patterned
from central.store.results import Revision
from central.texts import Language, _
from central.timesheet.clock import print_local, print_time
from central.words import REGISTERS, meaning_of, print_cut, print_decimal, print_source, with_meaning, word_of

Reason = Mapping[str, Any]


@dataclass(frozen=True)
class Explained:
    """What is known of a day."""

    person: str
    name: str
    date: date
    content: Mapping[str, Any] | None
    """The verdict as it is stored; None where there is none."""
    status: str
    why: str | None
    """Why the date is not judged."""
    history: Sequence[Revision]
    zone: tzinfo | None
    """Of the office; for dates without a plan."""
    known_at: str | None
    replaced: str | None
    """What was in force at that moment and is not kept: the text of a ``policy``, or the version of the ``engine``."""
    waiting: int
    """Marks that are still to be judged."""


class Section(NamedTuple):
    """A part of an explanation."""

    name: str
    """``plan``, ``slots``, ``punches``, ``doubts``, ``day`` or ``history``."""
    lines: list[str]
    """A line that begins with blanks belongs to the one above it."""


def explain(found: Explained, language: Language) -> Iterator[str]:
    """Yield the explanation line by line; moments in the zone of the plan."""
    title = {"name": found.name, "person": found.person, "date": found.date.isoformat()}
    yield message("title", language, **title, status=message(found.status, language))
    yield from state_of_knowledge(found, language)
    if found.waiting:
        yield message("waiting", language, marks=found.waiting)
    if (why := not_judged(found, language)) is not None:
        yield why
    for section in sections(found, language):
        yield ""
        yield message(f"head_{section.name}", language)
        yield from (f"  {line}" for line in section.lines)


def state_of_knowledge(found: Explained, language: Language) -> Iterator[str]:
    """Yield which revision is explained, or as known at which moment."""
    zone = zone_of_plan(found)
    if found.known_at is not None:
        yield message("as_known", language, moment=print_moment(found.known_at, zone))
        if found.replaced is not None:
            last = found.history[-1] if found.history else None
            what = message(f"replaced_{found.replaced}", language)
            values = {} if last is None else _stored(last, zone)
            yield message("replaced" if last else "replaced_unstored", language, what=what, **values)
    elif found.history:
        yield message("as_stored", language, **_stored(found.history[-1], zone))


def not_judged(found: Explained, language: Language) -> str | None:
    """Return why there is no verdict; None where there is one."""
    if found.content is not None:
        return None
    if found.why is not None:
        return message("not_judged", language, why=message(found.why, language))
    return message("not_begun", language)


def sections(found: Explained, language: Language) -> Iterator[Section]:
    """Yield the parts of the explanation that have lines."""
    zone = zone_of_plan(found)
    if found.content is not None:
        yield from _verdict(found.content, zone, language)
    if found.history:
        yield Section("history", [_revision(revision, zone, language) for revision in found.history])


def zone_of_plan(found: Explained) -> tzinfo | None:
    """Return the zone of the plan that the verdict names; of the office without one."""
    reasons = () if found.content is None else found.content["reasons"]
    name = next((reason["zone"] for reason in reasons if reason["step"] == "plan"), None)
    return found.zone if name is None else ZoneInfo(name)


def _stored(revision: Revision, zone: tzinfo | None) -> dict[str, Any]:
    return {"revision": revision.revision, "entered": print_moment(revision.entered, zone)}


def _verdict(content: Mapping[str, Any], zone: tzinfo | None, language: Language) -> Iterator[Section]:
    reasons: list[Reason] = content["reasons"]
    for name, lines in (
        ("plan", _plan(content, reasons, language)),
        ("slots", _slots(content, reasons, language)),
        ("punches", _punches(content, reasons, zone, language)),
        ("doubts", _doubts(reasons, language)),
        ("day", _day(content, reasons, language)),
    ):
        if found := list(lines):
            yield Section(name, found)


def _plan(content: Mapping[str, Any], reasons: Iterable[Reason], language: Language) -> Iterator[str]:
    for reason in reasons:
        if reason["step"] == "plan":
            yield f"{message('plan_' + reason['what'], language)}: {_version(reason['version'], language)}"
            yield message("plan_zone", language, **{key: reason[key] for key in ("zone", "work_date", "policy")})
            for other in reason.get("not_taken", ()):
                what = message(f"plan_{other['what']}", language)
                yield message("plan_not_taken", language, what=what, version=_version(other["version"], language))
        elif reason["step"] == "due":
            values = {**reason, "leave": _leave_words(reason, language), "paper": _joined(reason.get("paper"))}
            code: str = reason["what"]
            code = {"leave": "leave_day", "unknown_slot": "unknown_leave_slot"}.get(code, code)
            yield message(code, language, from_=values.pop("from", None), **values)
    for condition in content["conditions"]:
        yield message(f"condition_{condition}", language)


def _slots(content: Mapping[str, Any], reasons: Sequence[Reason], language: Language) -> Iterator[str]:
    in_place = any(reason["what"] == "absent" and reason["policy"] is not None for reason in reasons)
    for slot in content["slots"]:
        name = slot["name"]
        yield message(
            "slot",
            language,
            slot=meaning_of(name, language),
            due=print_time(slot["due_local"]),
            what=_slot(slot, language),
            status=message(slot["status"], language),
        )
        for reason in reasons:
            if reason.get("slot") != name:
                continue
            if reason["step"] == "classify":
                yield "  " + _class(slot, reason, language, in_place=in_place)
            elif reason["step"] == "pick":
                what = message(reason["what"], language)
                words = {"slot": meaning_of(name, language), "policy": _policy(reason["policy"], language)}
                yield "  " + message("pick", language, what=what, **words)
            elif reason["what"] == "end_moved":
                policy = _policy(reason["policy"], language)
                yield "  " + message("end_moved", language, minutes=reason["by_s"] // 60, policy=policy)


def _class(slot: Mapping[str, Any], reason: Reason, language: Language, *, in_place: bool) -> str:
    """Return what a class cuts, or would where its slot is not final, or the rule of the day stands in its place."""
    values = {
        "slot": meaning_of(slot["name"], language),
        "class_": reason["class"] or message("no_class", language),
        "policy": _policy(reason.get("policy"), language),
    }
    known = "cut" in reason  # verdicts of version 1 hold what is cut, not what would be
    cut = (
        print_cut(reason["cut"], reason["cut_rp"], language)
        if known
        else print_cut(slot["cut"], slot["cut_rp"], language)
    )
    code = "class"
    if in_place:
        code = "class_replaced"
    elif slot["status"] != "final" and not (known and reason["cut"] == reason["cut_rp"] == 0):
        code = "class_withheld" if known else "class_withheld_unknown"
    return message(code, language, cut=cut, **values)


def _slot(slot: Mapping[str, Any], language: Language) -> str:
    punch = None if slot["punch"] is None else print_time(slot["punch"]["local"])
    if slot["excused"] is not None:
        return message("slot_excused_min", language, minutes=slot["excused_min"])
    if punch is None:
        code = "slot_free" if not slot["demanded"] else "slot_missing" if slot["missing"] else "slot_not_due"
        return message(code, language)
    if not slot["minutes"] or slot["measure"] not in ("late", "early"):
        on_time = slot["demanded"] and slot["measure"] in ("late", "early") and slot["minutes"] == 0
        return message("slot_on_time" if on_time else "slot_present", language, punch=punch)
    return message(f"slot_{slot['measure']}", language, punch=punch, minutes=slot["minutes"])


def _punches(
    content: Mapping[str, Any], reasons: Iterable[Reason], zone: tzinfo | None, language: Language
) -> Iterator[str]:
    uses: dict[str, tuple[Mapping[str, Any], list[str]]] = {}
    for reason in reasons:
        named = [*reason.get("punches", ()), *([reason["punch"]] if "punch" in reason else ())]
        for punch in named:
            what = "pick" if reason["step"] == "pick" else reason["what"]
            use = message(f"use_{what}", language, slot=meaning_of(reason.get("slot", ""), language))
            listed = uses.setdefault(json.dumps(punch, sort_keys=True), (punch, []))[1]
            if use not in listed:
                listed.append(use)
    for punch, listed in sorted(uses.values(), key=lambda item: (item[0]["instant"], str(item[0]["id"]))):
        yield message(
            "punch",
            language,
            time=print_local(punch["local"]),
            where=_where(punch["terminal"], language),
            place="" if punch["stream"] is None else message("place", language, **_placed(punch)),
            use=", ".join(listed),
        )
        yield from (f"  {line}" for line in _evidence(punch, zone, language))
    if not uses and content["slots"]:
        yield message("no_punches", language)


def _where(terminal: str, language: Language) -> str:
    """Return at which terminal a punch was recorded, or what states it where none recorded it."""
    if terminal == "@correction":
        return message("by_correction", language)
    if terminal.startswith("@"):
        return message("by_source", language, source=terminal[1:])
    return message("at_terminal", language, terminal=terminal)


def _placed(punch: Mapping[str, Any]) -> dict[str, Any]:
    return {key: punch[key] for key in ("stream", "sequence", "id")}


def _evidence(punch: Mapping[str, Any], zone: tzinfo | None, language: Language) -> Iterator[str]:
    clock = punch.get("clock")
    if clock is not None and clock.get("offset_ms") is not None:
        offset = print_decimal(f"{clock['offset_ms'] / 1000:+.1f}", language)
        yield message("clock", language, offset=offset, measured=print_moment(clock.get("measured") or "-", zone))
    if punch.get("suspect"):
        words = ", ".join(with_meaning(word, language) for word in punch["suspect"])
        yield message("suspect", language, suspect=words)
    if punch.get("paper"):
        yield message("vouched", language, paper=punch["paper"])


def _doubts(reasons: Iterable[Reason], language: Language) -> Iterator[str]:
    for reason in reasons:
        if reason["step"] != "doubt":
            continue
        code = "suspect_punch" if reason["what"] == "suspect" else reason["what"]
        what = message(code, language)
        if reason.get("terminal"):
            what += message("at_terminal", language, terminal=reason["terminal"])
        if reason.get("detail"):
            what += f" ({detail_words(reason['detail'], language)})"
        between = "from" in reason and message("between", language, from_=reason["from"], to=reason["to"] or "…")
        yield message("doubt", language, slot=meaning_of(reason["slot"], language), what=what, between=between or "")


def _day(content: Mapping[str, Any], reasons: Sequence[Reason], language: Language) -> Iterator[str]:
    for reason in reasons:
        if reason["step"] == "sum" and reason["what"] != "withheld":
            yield message(reason["what"], language, policy=_policy(reason["policy"], language))
    if content["present_min"] is not None:
        values = {"minutes": content["present_min"], "counted": content["counted_min"]}
        yield message("present_min", language, **values)
    if content["overtime_min"]:
        yield message("overtime", language, minutes=content["overtime_min"])
    yield message("cut", language, cut=print_cut(content["cut"], content["cut_rp"], language))
    for reason in reasons:
        if reason["what"] == "withheld":
            policy = (
                ""
                if reason["policy"] is None
                else message("by_policy", language, policy=_policy(reason["policy"], language))
            )
            yield message("withheld", language, cut=print_cut(reason["cut"], reason["cut_rp"], language), policy=policy)


def _policy(ref: Mapping[str, Any] | None, language: Language) -> str:
    """Return the line of a policy with its decree and article."""
    return "-" if ref is None else f"{ref['node']} ({print_source(ref['decree'], ref.get('article'), language) or '-'})"


_SEGMENTS = (
    (re.compile(r"roster \((?P<paper>.*)\)"), _("roster ({paper})")),
    (re.compile(r"assigned \((?P<paper>.*)\)"), _("assigned ({paper})")),
    (re.compile(r"schedule (?P<name>\S+) without this date"), _("schedule {name} without this date")),
    (re.compile(r"schedule (?P<name>\S+) (?P<since>\S+) \((?P<paper>.*)\)"), _("schedule {name} {since} ({paper})")),
    (re.compile(r"timetable (?P<name>\S+) without this date"), _("timetable {name} without this date")),
    (re.compile(r"timetable (?P<name>\S+) (?P<since>\S+) \((?P<paper>.*)\)"), _("timetable {name} {since} ({paper})")),
    (re.compile(r"calendar (?P<kind>\w+) (?P<name>.*)"), _("calendar: {kind}, {name}")),
    (re.compile(r"(?P<kind>off)"), _("{kind}")),
)
"""Parts of a plan's version as central.timesheet.assemble writes them: they enter digests, so in one language."""


def _version(version: str, language: Language) -> str:
    return " · ".join(patterned(_SEGMENTS, part, language) for part in version.split(" · "))


def _joined(values: Any) -> str:
    if values is None:
        return ""
    return values if isinstance(values, str) else ", ".join(str(value) for value in values if value is not None) or "-"


def _revision(revision: Revision, zone: tzinfo | None, language: Language) -> str:
    changed = "; ".join(_changes(json.loads(revision.changed), language))
    causes = dict.fromkeys(_cause(cause, language) for cause in json.loads(revision.cause))
    return message(
        "revision",
        language,
        **_stored(revision, zone),
        status=message(revision.status, language),
        changed=f"; {changed}" if changed else "",
        causes=", ".join(causes) or "-",
    )


def _changes(changed: Mapping[str, Any], language: Language) -> Iterator[str]:
    if "fields" in changed:
        fields = dict.fromkeys(_field(name, language) for name in changed["fields"])
        yield message("changed_fields", language, fields=", ".join(fields))
    for what, described in (("punches", _punch_words), ("doubts", _doubt_words), ("leave", _leave_words)):
        for part in ("new", "gone"):
            if items := changed.get(what, {}).get(part):
                words = dict.fromkeys(described(item, language) for item in items)
                yield message(f"{what}_{part}", language, items=", ".join(words))
    for part in ("new", "gone"):
        if lines := changed.get("lines", {}).get(part):
            items = ", ".join(dict.fromkeys(_policy(line["policy"], language) for line in lines))
            yield message(f"lines_{part}", language, items=items)
    if "inputs" in changed:
        yield message("inputs_changed", language)
    for what in ("plan", "policy", "engine"):
        if what in changed:
            old, new = (_version(value, language) if what == "plan" and value else value for value in changed[what])
            yield message(f"{what}_changed", language, old=old, new=new)


def _field(name: str, language: Language) -> str:
    """Return the name of a value that changed; that of a slot stands after the slot's own name."""
    slot, dot, part = name.rpartition(".")
    return f"{meaning_of(slot, language)}{' ' if dot else ''}{FIELDS[part].into(language) if part in FIELDS else part}"


def _punch_words(punch: Reason, language: Language) -> str:
    place = "" if punch["stream"] is None else f" [{punch['stream']} {punch['sequence']}]"
    terminal = punch["terminal"]
    where = _where(terminal, language) if terminal.startswith("@") else f" {terminal}"
    return f"{print_time(punch['local'])}{where}{place}"


def _doubt_words(doubt: Reason, language: Language) -> str:
    detail = f" ({detail_words(doubt['detail'], language)})" if doubt.get("detail") else ""
    return message("suspect_punch" if doubt["what"] == "suspect" else doubt["what"], language) + detail


def _leave_words(leave: Reason, language: Language) -> str:
    kinds = leave.get("leave")
    if kinds is None:
        return ""
    named = [kinds] if isinstance(kinds, str) else [kind for kind in kinds if kind is not None]
    return ", ".join(with_meaning(kind, language) for kind in named) or "-"


def _cause(cause: Mapping[str, Any], language: Language) -> str:
    code = f"cause_{cause['kind']}"
    values = {**cause, "from_": cause.get("from"), "register": word_of(REGISTERS, cause.get("register", ""))}
    return message(code if code in MESSAGES else "cause_other", language, **values)
