"""A policy in plain sentences, as an official would check it against the decree: Indonesian or English.

Each sentence ends with the decree and article that it rests on; what the policy leaves out says so instead. What is
dated stands under its date, with what ends there; a figure whose source says that it is invented is marked. Of a source
written ``Indonesian / English`` each language shows its half.
"""

from collections.abc import Iterator
from typing import NamedTuple

from central.policy.document import Node, Path
from central.policy.load import Policy, Version
from central.texts import Language, Text, _
from central.timesheet.rules import Cut, Rules, SlotRule
from central.words import half_of, print_cut, print_source, with_meaning

_WORDS: dict[str, Text] = {
    "from": _("From {date} on:"),
    "ends": _("No longer: {sentence}"),
    "always": _("Rules of {name}:"),
    "rounding_floor": _("Seconds that do not make a full minute do not count."),
    "rounding_ceil": _("Every minute that has begun counts in full."),
    "late": _("{kind}: lateness counts from the due time."),
    "early": _("{kind}: leaving early counts up to the due time."),
    "present": _("{kind}: any punch within its window satisfies it."),
    "first": _("{kind}: the first punch counts."),
    "last": _("{kind}: the last punch counts."),
    "best": _("{kind}: the most favourable punch counts."),
    "state": _("{kind}: a punch with a matching state key goes first."),
    "states": _("{kind}: state keys that count: {states}."),
    "counts_as": _("{kind}: its punches count as {other} too."),
    "starts": _("{kind}: demanded only on days that begin between {first} and {last}."),
    "threshold": _("{kind}: up to {minutes} min are forgiven; beyond that all of it counts."),
    "threshold_exact": _("{kind}: up to {minutes} min are forgiven, to the second; beyond that all of it counts."),
    "offset": _("{kind}: the first {minutes} min do not count."),
    "band": _("{kind}: {range}: {class_}, {cut}."),
    "missing": _("{kind}: without a punch: {class_}, {cut}."),
    "missing_min": _("{kind}: without a punch it counts for {minutes} min."),
    "missing_half": _("{kind}: without a punch it counts for half of the day's planned minutes."),
    "shift": _(
        "Flexible hours: arriving up to {minutes} min earlier or later moves the end by as much; beyond that is late."
    ),
    "repay": _("Flexible hours: up to {minutes} min of lateness are made good on the same day; beyond that is late."),
    "fixed": _("Flexible hours: up to {minutes} min late is made good by {repay} min; more than that is late in full."),
    "absent": _("A whole day without punches: {class_}, {cut}, in place of the cuts of single slots."),
    "day_cap": _("A day: {cut} at most."),
    "work_end": _("A day counts on the date of its last due time."),
    "work_longest": _("A day counts on the date that holds most of it."),
    "terminal": _("The digits of the terminal are read in the plan's zone, elsewhere too."),
    "seam": _("One punch between two shifts serves both."),
    "repeat": _("A punch within {seconds} seconds of the one before is a repeat."),
    "trust": _("A clock that drifts is corrected by its measured offset where that favours the person."),
    "accept": _("Not taken as a doubt: {suspects}."),
    "leave": _("Leave {kind}: {cut} a day."),
    "leave_nothing": _("Leave {kind}: {cut}."),
    "leave_after": _("Leave {kind}: {cut} a day, after the first {days} days of the period."),
    "begins": _("Periods begin on day {day} of the month."),
    "bucket": _("Each full {minutes} minutes ({of}) of a period: {cut}."),
    "counter": _("From number {number} ({of}) of a period on, by date: {cut} each time."),
    "period_absent": _("{days} absent days in a period: {cut} in place of everything else."),
    "period_run": _("{days} absent days in a row in a period: {cut} in place of everything else."),
    "proportional": _("The presence of a period is computed from minutes; it cuts nothing itself."),
    "period_cap": _("A period: {cut} at most."),
    "scope_own_days": _("Each limit of a period holds for the cuts of its own dates."),
    "scope_period_end": _("The limit on the last day of a period holds for all of it."),
    "convert": _("{minutes} minutes late and early in a year count as one absent day."),
    "days_floor": _("Minutes that do not fill a day are no day."),
    "days_ceil": _("Minutes that do not fill a day are a day."),
    "excused_counts": _("Minutes late and early that were excused count too."),
    "excused_free": _("Minutes late and early that were excused do not count."),
    "ladder": _("From {days} days in a year on: {level}."),
    "run": _("{days} absent days in a row: {level}."),
    "unnamed": _("not named in this policy; the program's default"),
    "invented": _("[INVENTED]"),
    "none": _("no class"),
    "nothing": _("no cut"),
    "no_figure": _("a cut is not named"),
    "single": _("{first} min"),
    "range": _("{first} to {last} min"),
    "beyond": _("{first} min or more"),
    "cut": _("cut {cut}"),
    "of_late": _("late"),
    "of_early": _("early"),
    "of_missing": _("missing"),
    "of_flexi": _("late within the flexible range"),
}

_INVENTED = ("invented", "karangan", "rekaan")


class _Line(NamedTuple):
    key: str
    path: Path
    values: dict[str, object]


class _Event(str):
    """What buckets and counters count."""

    __slots__ = ()


class _Name(str):
    """A name in a policy, shown with its usual meaning."""

    __slots__ = ()


def explain(policy: Policy, language: Language = Language.ENGLISH) -> str:
    """Return a policy as sentences, what begins and ends later under its date."""
    titles = policy.versions[0].model.title
    title = (titles.id if language is Language.INDONESIAN else titles.en) if titles is not None else None
    parts = []
    before: list[str] = []
    for index, version in enumerate(policy.versions):
        sentences = [_sentence(line, version, language) for line in _lines(version)]
        new = [sentence for sentence in sentences if sentence not in before]
        gone = [_say("ends", language, sentence=sentence) for sentence in before if sentence not in sentences]
        if index == 0:
            parts.append(_say("always", language, name=f"{policy.name}, {title}" if title else policy.name))
        elif new or gone:
            parts.append(_say("from", language, date=version.since.isoformat()))
        parts += [f"  {sentence}" for sentence in (*gone, *new)]
        before = sentences
    return "\n".join(parts)


def _say(key: str, language: Language, **values: object) -> str:
    return _WORDS[key].into(language, **values)


def _sentence(line: _Line, version: Version, language: Language) -> str:
    values = {name: _value(value, language) for name, value in line.values.items()}
    if line.values.get("cut", "") is None:
        values["cut"] = _say("no_figure", language)
    text = _say(line.key, language, **values)
    source = version.document.nearest(line.path).source
    invented = any(word in " ".join(source.values()).lower() for word in _INVENTED)
    mark = f" {_say('invented', language)}" if invented else ""
    return f"{text} ({_rests_on(line.path, version.document, language)}){mark}"


def _rests_on(path: Path, document: Node, language: Language) -> str:
    """Return decree, article and note behind a node, or that the policy leaves it out."""
    if document.at(path) is None:
        return _say("unnamed", language)
    source = document.nearest(path).source
    named = print_source(source.get("decree"), source.get("article"), language)
    return "; ".join(part for part in (named, half_of(source.get("note", ""), language)) if part)


def _value(value: object, language: Language) -> object:
    if isinstance(value, Cut):
        return _cut(value, language)
    if isinstance(value, range):
        key = "beyond" if value.stop > _OPEN else "single" if len(value) == 1 else "range"
        return _say(key, language, first=value.start, last=value.stop - 1)
    if isinstance(value, tuple):
        return ", ".join(str(_value(item, language)) for item in value)
    if isinstance(value, _Event):
        return _say(f"of_{value}", language)
    if isinstance(value, _Name):
        return with_meaning(value, language)
    return _say("none", language) if value is None else value


def _cut(cut: Cut, language: Language) -> str:
    if not cut.percent and not cut.rupiah:
        return _say("nothing", language)
    return _say("cut", language, cut=print_cut(cut.percent, cut.rupiah, language))


_OPEN = 10**7
"""Minutes that no band's end reaches."""


def _lines(version: Version) -> Iterator[_Line]:
    rules = version.rules
    yield _Line("rounding_ceil" if rules.ceil else "rounding_floor", ("rounding",), {})
    for slot in rules.slots.values():
        yield from _slot_lines(slot, version.document)
    flexi = rules.flexi
    if flexi is not None:
        yield _Line(flexi.mode, ("flexi",), {"minutes": flexi.range_s // 60, "repay": flexi.repay_s // 60})
    yield from _day_lines(rules, version.document)
    for kind, leave in rules.leave.items():
        key = "leave_nothing" if leave.cut == Cut() else "leave_after" if leave.after else "leave"
        values: dict[str, object] = {"kind": _Name(kind), "days": leave.after // 1000}
        yield _cutting(key, version.document, ("leave", kind), leave.cut, values)
    yield from _period_lines(version)
    yield from _discipline_lines(version)


def _cutting(key: str, document: Node, path: Path, cut: Cut, values: dict[str, object]) -> _Line:
    """Return the line of a node that cuts: it rests on its figure, and says so where it names none."""
    figure = next((figure for word in ("cut", "cut_rp") if document.at(figure := (*path, word)) is not None), None)
    return _Line(key, figure or path, {**values, "cut": None if figure is None else cut})


def _slot_lines(slot: SlotRule, document: Node) -> Iterator[_Line]:
    kind: dict[str, object] = {"kind": _Name(slot.kind)}
    path = ("slots", slot.kind)
    yield _Line(slot.measure, (*path, "measure"), kind)
    if slot.measure != "present":
        yield _Line(slot.pick, (*path, "pick"), kind)
    if slot.states is not None:
        yield _Line("states", (*path, "states"), {**kind, "states": " ".join(map(str, sorted(slot.states)))})
    if slot.counts_as is not None:
        yield _Line("counts_as", (*path, "counts_as"), {**kind, "other": _Name(slot.counts_as)})
    if slot.starts is not None:
        first, last = map(_clock, slot.starts)
        yield _Line("starts", (*path, "starts"), {**kind, "first": first, "last": last})
    grace = slot.grace
    if grace.kind != "none":
        key = "threshold_exact" if grace.kind == "threshold" and grace.exact else grace.kind
        yield _Line(key, (*path, "grace", "min"), {**kind, "minutes": grace.seconds // 60})
    ends = [*(band.start for band in slot.bands[1:]), _OPEN + 1]
    for index, (band, end) in enumerate(zip(slot.bands, ends, strict=False)):
        values = {**kind, "range": range(band.start, end), "class_": band.name}
        yield _cutting("band", document, (*path, "bands", index), band.cut, values)
    missing = slot.missing
    yield _cutting("missing", document, (*path, "missing"), missing.cut, {**kind, "class_": missing.name})
    if missing.minutes is not None:
        counted = "missing_half" if missing.minutes == "half" else "missing_min"
        yield _Line(counted, (*path, "missing", "min"), {**kind, "minutes": missing.minutes})


def _clock(second: int) -> str:
    """Return a time of day, with seconds where it has any."""
    text = f"{second // 3600:02d}:{second // 60 % 60:02d}"
    return f"{text}:{second % 60:02d}" if second % 60 else text


def _day_lines(rules: Rules, document: Node) -> Iterator[_Line]:
    absent, cap = rules.all_missing, rules.day_cap
    if absent is not None:
        yield _cutting("absent", document, ("day", "all_missing"), absent.cut, {"class_": absent.name})
    if cap is not None:
        yield _Line("day_cap", ("day", "cap"), {"cut": Cut(cap.percent)})
    if rules.work_date != "start":
        yield _Line(f"work_{rules.work_date}", ("day", "work_date"), {})
    for key, word, holds in (
        ("terminal", "zone", rules.zone_of_terminal),
        ("seam", "shared_seam", rules.shared_seam),
        ("trust", "trust_offset", rules.trust_offset),
    ):
        if holds:
            yield _Line(key, ("day", word), {})
    if rules.repeat_s:
        yield _Line("repeat", ("day", "repeat_s"), {"seconds": rules.repeat_s})
    if rules.accept:
        yield _Line("accept", ("day", "accept"), {"suspects": tuple(_Name(item) for item in sorted(rules.accept))})


def _period_lines(version: Version) -> Iterator[_Line]:
    rules, document = version.rules, version.document
    if rules.begins_on != 1:
        yield _Line("begins", ("period", "begins_on"), {"day": rules.begins_on})
    for index, bucket in enumerate(rules.buckets):
        values: dict[str, object] = {"minutes": bucket.minutes, "of": tuple(map(_Event, bucket.of))}
        yield _cutting("bucket", document, ("period", "buckets", index), bucket.cut, values)
    for index, counter in enumerate(rules.counters):
        values = {"number": counter.after + 1, "of": tuple(map(_Event, counter.of))}
        yield _cutting("counter", document, ("period", "counters", index), counter.cut, values)
    absent, cap = rules.period_all_missing, rules.period_cap
    if absent is not None:
        key = "period_run" if absent.consecutive else "period_absent"
        yield _cutting(key, document, ("period", "all_missing"), absent.cut, {"days": absent.days})
    if rules.proportional:
        yield _Line("proportional", ("period", "proportional"), {})
    if cap is not None:
        yield _Line("period_cap", ("period", "cap"), {"cut": Cut(cap.percent)})
        if version.model.period.cap_scope is not None:
            yield _Line(f"scope_{version.model.period.cap_scope}", ("period", "cap_scope"), {})


def _discipline_lines(version: Version) -> Iterator[_Line]:
    path = ("discipline",)
    rule = version.model.discipline
    yield _Line("convert", (*path, "minutes_per_day"), {"minutes": rule.minutes_per_day})
    yield _Line("days_ceil" if rule.rounding == "ceil" else "days_floor", (*path, "rounding"), {})
    yield _Line("excused_counts" if rule.excused_counts else "excused_free", (*path, "excused_counts"), {})
    for index, step in enumerate(rule.ladder):
        yield _Line("ladder", (*path, "ladder", index), {"days": step.days, "level": step.level})
    if rule.consecutive_level is not None:
        values = {"days": rule.consecutive_days, "level": rule.consecutive_level}
        yield _Line("run", (*path, "consecutive_days"), values)
