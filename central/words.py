"""Words that texts of the centre share: of registers, their columns and values, and usual names in policies. Pure."""

import re
from collections.abc import Mapping

from central.texts import Language, Text, in_context

REGISTERS: Mapping[str, Text] = {
    "people": in_context("register", "people"),
    "units": in_context("register", "units"),
    "enrolments": in_context("register", "enrolments"),
    "timetables": in_context("register", "timetables"),
    "schedules": in_context("register", "schedules"),
    "rosters": in_context("register", "rosters"),
    "assignments": in_context("register", "assignments"),
    "calendar": in_context("register", "calendar"),
    "leave": in_context("register", "leave"),
    "orders": in_context("register", "orders"),
    "corrections": in_context("register", "corrections"),
    "decisions": in_context("register", "decisions"),
    "presence": in_context("register", "presence"),
    "policies": in_context("register", "policies"),
    "terminals": in_context("register", "terminals"),
    "sites": in_context("register", "sites"),
}
COLUMNS: Mapping[str, Text] = {
    "key": in_context("column", "key"),
    "person": in_context("column", "person"),
    "name": in_context("column", "name"),
    "employment": in_context("column", "employment"),
    "unit": in_context("column", "unit"),
    "nip": in_context("column", "nip"),
    "parent": in_context("column", "parent"),
    "zone": in_context("column", "zone"),
    "from": in_context("column", "from"),
    "until": in_context("column", "until"),
    "pin": in_context("column", "pin"),
    "terminal": in_context("column", "terminal"),
    "site": in_context("column", "site"),
    "timetable": in_context("column", "timetable"),
    "slot": in_context("column", "slot"),
    "kind": in_context("column", "kind"),
    "due": in_context("column", "due"),
    "window from": in_context("column", "window from"),
    "window until": in_context("column", "window until"),
    "break min": in_context("column", "break min"),
    "shifts": in_context("column", "shifts"),
    "schedule": in_context("column", "schedule"),
    "day": in_context("column", "day"),
    "calendar": in_context("column", "calendar"),
    "month": in_context("column", "month"),
    "policy": in_context("column", "policy"),
    "date": in_context("column", "date"),
    "scope": in_context("column", "scope"),
    "estimated": in_context("column", "estimated"),
    "begin": in_context("column", "begin"),
    "end": in_context("column", "end"),
    "time": in_context("column", "time"),
    "paper": in_context("column", "paper"),
    "by": in_context("column", "by"),
    "reason": in_context("column", "reason"),
    "decision": in_context("column", "decision"),
    "suspect": in_context("column", "suspect"),
    "source": in_context("column", "source"),
    "state": in_context("column", "state"),
}
"""Names of columns; each reads at the head of a file in both languages."""
VALUES: Mapping[str, Text] = {
    "yes": in_context("value", "yes"),
    "no": in_context("value", "no"),
    "off": in_context("value", "off"),
    "other": in_context("value", "other"),
    "pppk-part-time": in_context("value", "pppk-part-time"),
    "national_holiday": in_context("value", "national_holiday"),
    "local_holiday": in_context("value", "local_holiday"),
    "cuti_bersama": in_context("value", "cuti_bersama"),
    "ramadan": in_context("value", "ramadan"),
    "accept": in_context("value", "accept"),
    "not_concerned": in_context("value", "not_concerned"),
    "out_of_use": in_context("value", "out_of_use"),
    "visitor": in_context("value", "visitor"),
    "monday": in_context("value", "monday"),
    "tuesday": in_context("value", "tuesday"),
    "wednesday": in_context("value", "wednesday"),
    "thursday": in_context("value", "thursday"),
    "friday": in_context("value", "friday"),
    "saturday": in_context("value", "saturday"),
    "sunday": in_context("value", "sunday"),
}
"""Values of columns that are words; each reads in a file in both languages."""
SUBJECTS: Mapping[str, Text] = {
    "person": COLUMNS["person"],
    "unit": COLUMNS["unit"],
    "timetable": COLUMNS["timetable"],
    "schedule": COLUMNS["schedule"],
    "policy": COLUMNS["policy"],
    "terminal": COLUMNS["terminal"],
    "site": COLUMNS["site"],
    "scope": COLUMNS["scope"],
}
"""What stands before the colon of a subject's key."""
MEANINGS: Mapping[str, Text] = {
    "in": in_context("policy", "in"),
    "out": in_context("policy", "out"),
    "noon": in_context("policy", "noon"),
    "annual": in_context("policy", "annual"),
    "sick": in_context("policy", "sick"),
    "important": in_context("policy", "for an important reason"),
    "maternity": in_context("policy", "maternity"),
    "long": in_context("policy", "long"),
    "duty": in_context("policy", "duty travel"),
    "training": in_context("policy", "training"),
    "remote": in_context("policy", "remote"),
    "technical": in_context("policy", "for a technical reason"),
    "permission": in_context("policy", "permission"),
    "reset": in_context("policy", "the clock was reset"),
    "future": in_context("policy", "the time lies in the future"),
    "step": in_context("policy", "the clock jumped"),
    "drift": in_context("policy", "the clock drifts"),
    "unverified": in_context("policy", "the clock is not verified"),
    "unmeasured": in_context("policy", "the clock was not measured"),
    "host_time": in_context("policy", "the time is the receiving computer's"),
}
"""What usual names in policies mean, where the name does not say it in the language."""

_RULES: tuple[tuple[re.Pattern[str], Text], ...] = (
    (re.compile(r"slots\.(?P<kind>[^.]+)\.bands\[(?P<index>\d+)\].*"), in_context("rule", "{kind}, class {number}")),
    (re.compile(r"slots\.(?P<kind>[^.]+)\.missing.*"), in_context("rule", "{kind}, without a punch")),
    (re.compile(r"slots\.(?P<kind>[^.]+)\.pick"), in_context("rule", "{kind}, which punch counts")),
    (re.compile(r"slots\.(?P<kind>[^.]+)\.grace.*"), in_context("rule", "{kind}, tolerance")),
    (re.compile(r"slots\.(?P<kind>[^.]+).*"), in_context("rule", "{kind}")),
    (re.compile(r"flexi.*"), in_context("rule", "flexible hours")),
    (re.compile(r"day\.all_missing.*"), in_context("rule", "a whole day without punches")),
    (re.compile(r"day\.cap.*"), in_context("rule", "limit of a day")),
    (re.compile(r"day.*"), in_context("rule", "rules of the day")),
    (re.compile(r"leave\.(?P<kind>[^.]+).*"), in_context("rule", "leave, {kind}")),
    (re.compile(r"period\.buckets.*"), in_context("rule", "minutes that add up in the period")),
    (re.compile(r"period\.counters.*"), in_context("rule", "how often it happens in the period")),
    (re.compile(r"period\.all_missing.*"), in_context("rule", "absences in the period")),
    (re.compile(r"period\.cap.*"), in_context("rule", "limit of the period")),
    (re.compile(r"period.*"), in_context("rule", "rules of the period")),
    (re.compile(r"discipline.*"), in_context("rule", "discipline")),
    (re.compile(r"rounding"), in_context("rule", "rounding of minutes")),
)
"""What lines of a policy are about, by their path in its file."""
_ARTICLE = in_context("decree", "Art. {article}")


def word_of(table: Mapping[str, Text], word: str) -> str:
    """Return a word of a table as a text; a word that the table lacks stays what it is."""
    return table.get(word, word)


def meaning_of(name: str, language: Language) -> str:
    """Return what a usual name in a policy means; another name is its own meaning."""
    return MEANINGS[name].into(language) if name in MEANINGS else name


def with_meaning(name: str, language: Language) -> str:
    """Return a name of a policy with its usual meaning in brackets."""
    meaning = meaning_of(name, language)
    return name if meaning == name else f"{name} ({meaning})"


def rule_words(node: str, language: Language) -> str:
    """Return what a line of a policy, given as its path such as ``slots.in.pick``, is about; an unknown path itself."""
    for pattern, words in _RULES:
        if (found := pattern.fullmatch(node)) is not None:
            values = found.groupdict()
            kind = meaning_of(values.get("kind") or "", language)
            return words.into(language, kind=kind, number=int(values.get("index") or 0) + 1)
    return node


def print_source(decree: str | None, article: str | None, language: Language) -> str:
    """Return decree and article; of a decree written ``Indonesian / English`` the half of the language."""
    if article is not None and article[:1].isdigit():
        article = _ARTICLE.into(language, article=article)
    return ", ".join(half_of(part, language) for part in (decree, article) if part)


def half_of(text: str, language: Language) -> str:
    """Return a language's half of a text written ``Indonesian / English``; another text as it is."""
    halves = text.split(" / ")
    return text if len(halves) != 2 else halves[0 if language is Language.INDONESIAN else 1]


def print_decimal(number: str, language: Language) -> str:
    """Return a decimal number with the decimal sign of the language."""
    return number.replace(".", ",") if language is Language.INDONESIAN else number


def print_cut(thousandths: int, rupiah: int, language: Language) -> str:
    """Return a percentage (in thousandths) and an amount, with the decimal sign of the language; ``0 %`` for none."""
    whole, rest = divmod(thousandths, 1000)
    point, group = (",", ".") if language is Language.INDONESIAN else (".", ",")
    decimals = f"{rest:03d}".rstrip("0")
    percent = f"{whole}{point + decimals if decimals else ''} %"
    amount = f"Rp{rupiah:,}".replace(",", group)
    return " + ".join(text for text, there in ((percent, thousandths or not rupiah), (amount, rupiah)) if there)
