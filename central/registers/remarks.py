"""Remarks on rows that are entered: nothing is wrong with them by themselves, and a person should look.

Keys outside their validity, terminals and sites without a punch, leave that the policy does not name, that overlaps or
that names a slot which the day lacks, likewise corrections.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from itertools import chain
from typing import NamedTuple, Self

from sqlalchemy import Connection

from central.registers.kinds import KINDS
from central.registers.problems import Problem
from central.registers.rules import Line
from central.registers.statements import REFERENCES, Source
from central.registers.write import print_statement
from central.store.recorded import sites_of
from central.store.registers import Registers, Stated
from central.texts import Language
from central.timesheet.affected import REACH
from central.timesheet.assemble import Office, PersonRows, Planned, people_rows
from central.timesheet.facts import load_rows, padded
from central.timesheet.rules import RulesOn
from central.words import REGISTERS, word_of

PEOPLE = 500
"""People whose plans are read at once."""
_DAY_S = 86_400


class Described(str):
    """What a row states, when it was entered, by whom and on which paper, on one line; in English as a string."""

    __slots__ = ("_row",)
    _row: Stated

    def __new__(cls, row: Stated) -> Self:
        """Describe the row."""
        self = super().__new__(cls, _described(row, Language.ENGLISH))
        self._row = row
        return self

    def into(self, language: Language) -> str:
        """Return the line in a language."""
        return _described(self._row, language)


def _described(row: Stated, language: Language) -> str:
    return f"{print_statement(row.statement, language)} [{row.entered[:10]}, {row.by}, {row.paper}]"


def remarks_on(
    connection: Connection,
    registers: Registers,
    policies: Mapping[str, RulesOn],
    kind: str,
    sources: Sequence[Source],
    identities: set[str],
) -> Iterator[Problem]:
    """Yield the remarks on those statements of a file that are entered, by their identities; one after the other."""
    changed = [source for source in sources if source.statement.identity in identities]
    found = [_unseen_places(connection, kind, sources, identities)]
    found.append(_outside_validity(registers, kind, sources, identities))
    if kind == "decisions":
        found.append(_ending_unread(changed))
    if kind == "leave":
        found.append(_overlapping_leave(registers, changed))
    if kind in ("leave", "corrections"):
        found.append(_against_plans(registers, policies, changed))
    return chain.from_iterable(found)


def _ending_unread(changed: Sequence[Source]) -> Iterator[Problem]:
    """Yield a remark on each decision that ends every doubt about a terminal, also that its log is not read yet."""
    for source in changed:
        record = source.lines[0].record
        if record.decision == "not_concerned" and record.terminal is not None:
            yield Problem(source.lines[0].at("terminal"), "ends_unread", {"seen": record.terminal})


def _outside_validity(
    registers: Registers, kind: str, sources: Sequence[Source], identities: set[str]
) -> Iterator[Problem]:
    """Yield a remark on each row whose first or last date lies outside the validity of a key that it names."""
    changed = [source for source in sources if source.statement.identity in identities]
    for column in KINDS[kind].columns:
        if column.refers is None or column.refers not in REFERENCES:
            continue
        register, what = REFERENCES[column.refers]
        field = column.field or column.name
        keys = {key for source in changed for line in source.lines if (key := getattr(line.record, field)) is not None}
        spans: dict[str, list[tuple[date, date | None]]] = defaultdict(list)
        for row in registers.rows(register, (f"{what}:{key}" for key in keys)):
            if register != kind or row.statement.identity not in identities:
                spans[row.statement.subject.partition(":")[2]].append((row.since, row.until))
        if register == kind:
            for source in changed:
                statement = source.statement
                spans[statement.subject.partition(":")[2]].append((statement.since, statement.until))
        for source in changed:
            for line in source.lines:
                key = getattr(line.record, field)
                for on in dict.fromkeys((source.statement.since, source.statement.until)):
                    if on is not None and key in spans and not _is_within(on, spans[key]):
                        values = {"key": key, "kind": word_of(REGISTERS, register), "date": on.isoformat()}
                        yield Problem(line.at(column.name), "outside_validity", values)


def _unseen_places(
    connection: Connection, kind: str, sources: Sequence[Source], identities: set[str]
) -> Iterator[Problem]:
    """Yield a remark on each serial number and site of which no punch is held, once; none before the first punch."""
    columns = [column.name for column in KINDS[kind].columns if column.refers in ("terminals", "sites")]
    sites = sites_of(connection) if columns else {}
    seen = {"terminal": set(sites), "site": {site for there in sites.values() for site in there.values()}}
    for source in sources if sites else ():
        if source.statement.identity in identities:
            for name in columns:
                place = getattr(source.lines[0].record, name)
                if place is not None and place not in seen[name]:
                    seen[name].add(place)
                    yield Problem(source.lines[0].at(name), f"{name}_unseen", {"seen": place})


def _is_within(on: date, spans: Iterable[tuple[date, date | None]]) -> bool:
    return any(since <= on and (until is None or on <= until) for since, until in spans)


# --- leave and corrections ----------------------------------------------------------------------------------------


class _Span(NamedTuple):
    """When leave is, in seconds since the first date."""

    start: int
    end: int
    slot: str
    """Empty: not of one slot."""
    line: Line


def _span(line: Line) -> _Span:
    one = line.record
    begin, end = (0, _DAY_S) if one.begin is None or one.end is None else (one.begin, one.end)
    last = one.until or one.since
    return _Span(one.since.toordinal() * _DAY_S + begin, last.toordinal() * _DAY_S + end - 1, one.slot or "", line)


def _overlapping_leave(registers: Registers, changed: Sequence[Source]) -> Iterator[Problem]:
    """Yield a remark on leave at the time of another leave of the same person, in the file or entered."""
    own = {source.statement.identity for source in changed}
    lines: dict[str, list[Line]] = defaultdict(list)
    for source in changed:
        lines[source.statement.subject].append(source.lines[0])
    for row in registers.rows("leave", list(lines)):
        if row.statement.identity not in own:
            line = Line("", row.record, partial(_text_of, Described(row)), stored=True)
            lines[row.statement.subject].append(line)
    for of_person in lines.values():
        latest: _Span | None = None
        slots: dict[tuple[int, str], _Span] = {}
        for span in sorted(map(_span, of_person), key=lambda one: (one.start, bool(one.slot), one.end, one.line.place)):
            other = latest if latest is not None and span.start <= latest.end else None
            if span.slot:
                other = other or slots.setdefault((span.start, span.slot), span)
            elif latest is None or span.end > latest.end:
                latest = span
            if other is not None and other is not span:
                yield from _overlap(span.line, other.line)


def _text_of(text: str, _column: str) -> str:
    return text


def _overlap(one: Line, other: Line) -> Iterator[Problem]:
    if one.stored:
        one, other = other, one
    if not one.stored:
        yield Problem(one.at("from"), "leave_overlaps", {"other": other.at("from") if other.stored else other.place})


def _against_plans(
    registers: Registers, policies: Mapping[str, RulesOn], changed: Sequence[Source]
) -> Iterator[Problem]:
    """Yield a remark on leave whose kind the person's policy does not name, and on slots that the plan lacks."""
    seen: set[tuple[str, str]] = set()
    for number in range(0, len(changed), PEOPLE):
        part = changed[number : number + PEOPLE]
        first = min(source.statement.since for source in part)
        last = max(source.statement.since for source in part)
        people = {source.lines[0].record.person for source in part}
        rows = load_rows(registers, people, *padded(first, last, REACH))
        office, of_people = Office(rows, policies), people_rows(rows)
        for source in part:
            line, on = source.lines[0], source.statement.since
            own = of_people.get(line.record.person, PersonRows())
            yield from _unknown_kind(office, own, on, line, seen)
            yield from _unknown_slot(office, own, on, line)


def _unknown_kind(
    office: Office, own: PersonRows, on: date, line: Line, seen: set[tuple[str, str]]
) -> Iterator[Problem]:
    kind = getattr(line.record, "kind", None)
    rules = None if kind is None else office.rules(own, on)
    if kind is None or rules is None or kind in rules.leave or (rules.policy, kind) in seen:
        return
    seen.add((rules.policy, kind))
    kinds = ", ".join(sorted(rules.leave)) or "-"
    yield Problem(line.at("kind"), "leave_kind_unknown", {"seen": kind, "policy": rules.policy, "kinds": kinds})


def _unknown_slot(office: Office, own: PersonRows, on: date, line: Line) -> Iterator[Problem]:
    slot = line.record.slot
    planned = None if slot is None else office.planned(own, on)
    if slot is None or not isinstance(planned, Planned):
        return
    names = [one.name for one in planned.days[0].slots]
    if slot not in names:
        values = {"seen": slot, "date": on.isoformat(), "slots": ", ".join(names) or "-"}
        yield Problem(line.at("slot"), "slot_unknown", values)
