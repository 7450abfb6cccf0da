"""A person's date with all its reasons, down to punch and article; also as known at a moment."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from central.json_text import load_json
from central.reports.explained import explained
from central.reports.messages import message
from central.reports.why import not_judged as no_verdict
from central.reports.why import sections, state_of_knowledge
from central.texts import Language, Text, _, in_context
from central.timesheet.clock import print_time
from central.web.messages import Messages
from central.web.page import Look, Missing, Page, Shown
from central.web.pages.person import closed_words, known_at, places_of
from central.web.pages.today import line_of
from central.web.verdicts import entry_of
from central.web.views.day_strip import strip
from central.words import MEANINGS, meaning_of, rule_words, with_meaning

TEXTS: Mapping[str, Text] = {
    "day_page": _("A person's day"),
    "day_title": _("{name}: {date}"),
    "day_verdict": _("Verdict"),
    "day_strip": _("The day on the clock"),
    "day_strip_words": _("Due: {due}. Punches that count: {punches}."),
    "day_due": in_context("legend", "due time"),
    "day_punch": in_context("legend", "punch that counts"),
    "day_other": in_context("legend", "other punch"),
    "day_month": _("The month of this person"),
    "day_policy": _("The policy in sentences: {policy}"),
}


# Longer than 60 lines: a table of what the template shows, with the few names that its values share.
def page_of_day(look: Look) -> Shown:
    """Return the page of a person's date; raises :class:`Missing` where the viewer does not see the person on it."""
    key = look.parameters["person"]
    on = look.day_of("date", look.today())
    seen = look.person(key, on, on)
    row = seen.row(on)
    if row is None:
        look.report(person=key, first=on, last=on, refused=True)
        raise Missing
    known = known_at(look, row.unit)

    def values() -> Mapping[str, Any]:
        moment = look.now if known is None else known
        found = explained(look.connection, key, on, look.policies, known, moment)
        standing = None if found.content is None else entry_of(found.content)
        words = None
        if standing is not None:
            words = line_of(standing.standing, standing.standing.marks, standing.words[look.language], on, look.t)
        content = found.content
        rules = dict(_rules([content, *(load_json(one.changed) for one in found.history)], look.language))
        rules |= {with_meaning(name, look.language): meaning_of(name, look.language) for name in MEANINGS}
        strips = (
            {}
            if content is None
            else {
                "wide": strip(content, on, width=960),
                "narrow": strip(content, on, width=340, hours_apart=3),
            }
        )
        return {
            "person": row,
            "strips": {size: one for size, one in strips.items() if one is not None},
            "described": _strip_words(content, look.t),
            "places": places_of(look, [row], on),
            "on": on,
            "day_before": on - timedelta(days=1),
            "day_after": on + timedelta(days=1),
            "policy": None if content is None else _policy(content),
            "policies": look.policies,
            "status": message(found.status, look.language),
            "knowledge": list(state_of_knowledge(found, look.language)),
            "why": no_verdict(found, look.language),
            "words": words,
            "sections": [
                (
                    section.name,
                    message(f"head_{section.name}", look.language),
                    _nested([_worded(line, rules) for line in section.lines]),
                )
                for section in sections(found, look.language)
            ],
            "closed": list(closed_words(look, seen, on, on, moment)),
            "known": known,
            "known_words": None if known is None else look.t.moment(known, look.zone(row.unit)),
            "known_default": f"{look.now.astimezone(look.zone(row.unit)):%Y-%m-%dT%H:%M}",
        }

    return look.show("day.html", values, title=look.t("day_title", name=row.name, date=look.t.date(on)))


def _policy(content: Mapping[str, Any]) -> str | None:
    return next((reason["policy"] for reason in content["reasons"] if reason["step"] == "plan"), None)


def _strip_words(content: Mapping[str, Any] | None, t: Messages) -> str:
    slots = [] if content is None else [slot for slot in content["slots"] if slot["demanded"] or slot["punch"]]
    due = ", ".join(print_time(slot["due_local"])[:5] for slot in slots if slot["demanded"])
    punches = ", ".join(print_time(slot["punch"]["local"]) for slot in slots if slot["punch"] is not None)
    return t("day_strip_words", due=due or "-", punches=punches or "-")


def _rules(part: Any, language: Language) -> Iterator[tuple[str, str]]:
    """Yield the lines of policies that a verdict names, as its explanation prints them, with words for officials."""
    if isinstance(part, Mapping):
        node = part.get("node")
        if isinstance(node, str):
            yield f"{node} (", f"{rule_words(node, language)} ("
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from _rules(one, language)


def _worded(line: str, rules: Mapping[str, str]) -> str:
    for node in sorted(rules, key=len, reverse=True):
        line = line.replace(node, rules[node])
    return line


def _nested(lines: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return lines with those that belong to them."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("  ") and found:
            found[-1][1].append(line.strip())
        else:
            found.append((line.strip(), []))
    return found


PAGES = [Page("/day/{person:path}", "day", TEXTS["day_page"], page_of_day)]
