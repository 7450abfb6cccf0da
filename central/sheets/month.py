"""Sheets of a unit's month: the recap with its grid, the annex to the payment, the list of full attendance. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

from central.sheets.lines import Line, UnitPeriod
from central.sheets.messages import TITLES, head, message, print_day, print_when
from central.sheets.settings import Settings
from central.sheets.sheet import Cell, Column, Sheet, Signatory
from central.texts import Language
from central.timesheet import outcome as marks
from central.timesheet.outcome import Standing
from central.web.views.codes import CODES, LEAVE, OTHER_LEAVE, codes_of

COUNTED = ("TL", "PSW", "TP", "I", "S", "C", "DL", "WFH", "T", "TK")
"""Codes that have a sum; an office's own follow."""


def recap(period: UnitPeriod, settings: Settings, language: Language, today: date) -> Sheet:
    """Return the recap: each person and date with codes, their sums, minutes, cut, and the cut of last month."""
    dates = period.dates
    counted = (*COUNTED, *sorted(set(settings.leave_codes.values()) - set(COUNTED)))
    names = ("number", "name", "nip", "person")
    ends = ("late_min", "early_min", "not_final", "cut", "carried", "cut_sum")
    with_nip = any(line.nip for line in period.lines)
    columns = [
        *(Column(name, head(name, language), _WIDTHS[name]) for name in names if with_nip or name != "nip"),
        *(Column(on.isoformat(), str(on.day), 4) for on in dates),
        Column("planned_days", head("planned_days", language), 5),
        Column("present_days", head("present_days", language), 4),
        *(Column(code, code, 4) for code in counted),
        *(Column(name, head(name, language), 7) for name in ends),
    ]
    sums = Counter[str]()
    rows: list[list[Cell]] = []
    for number, line in enumerate(period.lines, 1):
        codes = _grid(line, dates, settings)
        found = Counter(code for of_date in codes.values() for of_day in of_date for code in of_day)
        counts = {
            "planned_days": int(line.total["days"]),
            "present_days": sum(_present(one) for one in line.days.values()),
            **{code: found[code] for code in counted},
            "late_min": int(line.total["late_min"]),
            "early_min": int(line.total["early_min"]),
            "not_final": int(line.total["open_days"]) + int(line.total["provisional_days"]),
        }
        sums.update(counts)
        cut = Decimal(line.total["cut"])
        nip: list[Cell] = [line.nip] if with_nip else []
        first: list[Cell] = [number, line.name, *nip, line.person]
        grid: list[Cell] = [" ".join(dict.fromkeys(code for of_day in codes[on] for code in of_day)) for on in dates]
        rows.append([*first, *grid, *counts.values(), cut, line.carried, cut + line.carried])
    empty: list[Cell] = [None] * (len(dates) + (2 if with_nip else 1))
    total: list[Cell] = [None, message("sum", language), *empty]
    counted_names = ("planned_days", "present_days", *counted, "late_min", "early_min", "not_final")
    total += [sums[name] for name in counted_names]
    total += [None, None, None]
    notes = [
        *_elsewhere(period, "elsewhere", language),
        "; ".join(_legend(settings, language)),
        message("h_counts", language) + " " + message("grid_counts", language),
        message("not_final", language),
        *_carried(period, language),
    ]
    return _sheet("recap", period, settings, language, today, columns, rows, total, notes)


def annex(period: UnitPeriod, settings: Settings, language: Language, today: date) -> Sheet:
    """Return the annex to the payment: percent of the period, what earlier periods are adjusted by, and the sum.

    People whose period was closed with another unit are in that closing's annex: here they are counted only, so that
    two annexes never pay one person.
    """
    lines = [line for line in period.lines if line.closing is None]
    with_nip = any(line.nip for line in lines)
    in_rupiah = any(line.total["cut_rp"] or line.carried_rp for line in lines)
    names = ["number", "name", *(["nip"] if with_nip else []), "person", "planned_days", "absent_days", "late_min"]
    names += ["early_min", "not_final", "cut", "carried", "cut_sum"]
    names += ["cut_rp", "carried_rp", "cut_sum_rp"] if in_rupiah else []
    columns = [Column(name, head(name, language), _WIDTHS.get(name, 10)) for name in names]
    rows: list[list[Cell]] = []
    for number, line in enumerate(lines, 1):
        total, cut = line.total, Decimal(line.total["cut"])
        values: dict[str, Cell] = {
            "number": number,
            "name": line.name,
            "nip": line.nip,
            "person": line.person,
            "planned_days": total["days"],
            "absent_days": total["absent_days"],
            "late_min": total["late_min"],
            "early_min": total["early_min"],
            "not_final": total["open_days"] + total["provisional_days"],
            "cut": cut,
            "carried": line.carried,
            "cut_sum": cut + line.carried,
            "cut_rp": total["cut_rp"],
            "carried_rp": line.carried_rp,
            "cut_sum_rp": total["cut_rp"] + line.carried_rp,
        }
        rows.append([values[name] for name in names])
    notes = [*_elsewhere(period, "elsewhere_annex", language), *_carried(period, language)]
    notes.append(message("not_final", language))
    return _sheet("annex", period, settings, language, today, columns, rows, (), notes)


def full_attendance(period: UnitPeriod, settings: Settings, language: Language, today: date) -> Sheet:
    """Return the list of those whose every day of duty is complete and on time or excused, and final."""
    lines = [line for line in period.lines if _full(line)]
    with_nip = any(line.nip for line in lines)
    names = ["number", "name", *(["nip"] if with_nip else []), "person", "planned_days", "present_days"]
    columns = [Column(name, head(name, language), _WIDTHS.get(name, 10)) for name in names]
    rows: list[list[Cell]] = []
    for number, line in enumerate(lines, 1):
        nip: list[Cell] = [line.nip] if with_nip else []
        present = sum(_present(one) for one in line.days.values())
        rows.append([number, line.name, *nip, line.person, line.total["days"], present])
    none = [] if rows else [message("full_none", language)]
    notes = [*_elsewhere(period, "elsewhere", language), message("full_note", language), *none]
    return _sheet("full", period, settings, language, today, columns, rows, (), notes)


_WIDTHS: Mapping[str, int] = {"number": 4, "name": 26, "nip": 26, "person": 10}


def _grid(line: Line, dates: Sequence[date], settings: Settings) -> dict[date, list[Sequence[str]]]:
    """Return the codes of each day by the column that it stands in.

    A night shift at the end of a month may be planned outside the period that it is work of: the nearest column has it.
    """
    found: dict[date, list[Sequence[str]]] = {on: [] for on in dates}
    for on, one in sorted(line.days.items()):
        found[min(max(on, dates[0]), dates[-1])].append(_codes(one, settings))
    return found


def _codes(found: Standing, settings: Settings) -> Sequence[str]:
    if not found.excused:
        return codes_of(found)
    own = [settings.leave_codes.get(kind) for kind in found.excused]
    usual = [LEAVE.get(kind, OTHER_LEAVE) for kind in found.excused]
    replaced = {code: mine for code, mine in zip(usual, own, strict=True) if mine is not None}
    return [replaced.get(code, code) for code in codes_of(found)]


def _present(found: Standing) -> bool:
    return marks.PRESENT in found.marks and found.kind == "workday"


def _full(line: Line) -> bool:
    on_duty = [one for one in line.days.values() if marks.NO_DUTY not in one.marks]
    fine = all(one.status == "final" and not one.marks & _EXCEPTIONS for one in on_duty)
    return bool(on_duty) and fine and any(_present(one) for one in on_duty)


_EXCEPTIONS = frozenset((marks.LATE, marks.EARLY, marks.MISSING, marks.ABSENT, marks.NONE))


def _legend(settings: Settings, language: Language) -> Iterator[str]:
    own = {code: kind for kind, code in settings.leave_codes.items()}
    for code, meaning in CODES.items():
        yield message("legend", language, short=code, meaning=meaning.into(language))
    for code in sorted(set(own) - set(CODES)):
        yield message("legend", language, short=code, meaning=own[code])


def _elsewhere(period: UnitPeriod, code: str, language: Language) -> Iterator[str]:
    """Yield a note for each closing of another unit that has people of this one."""
    for one in period.elsewhere:
        yield message(code, language, **one._replace(on=print_when(one.on, language))._asdict())


def _carried(period: UnitPeriod, language: Language) -> Iterator[str]:
    """Yield what the cut of last month is, and before a closing that it waits for it."""
    yield message("carried", language)
    if period.closed is None and any(line.carried or line.carried_rp for line in period.lines if line.closing is None):
        yield message("carried_waits", language)


def _sheet(
    name: str,
    period: UnitPeriod,
    settings: Settings,
    language: Language,
    today: date,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    sums: Sequence[Cell],
    notes: Sequence[str],
) -> Sheet:
    span = {"first": print_day(period.first, language), "last": print_day(period.last, language)}
    heading = [message("of_unit", language, unit=period.name, **span), standing_of_period(period, language)]
    place = f"{settings.place}, {print_day(today, language)}" if settings.place else print_day(today, language)
    signed = [Signatory(one.title, one.name, one.nip) for one in settings.signatories]
    return Sheet(name, TITLES[name].into(language), heading, columns, rows, sums, notes, place, signed)


def standing_of_period(period: UnitPeriod, language: Language) -> str:
    """Return whether the period is closed, as a sentence."""
    if period.closed is None:
        return message("not_closed", language)
    on = print_when(period.closed.on, language)
    return message("closed", language, **period.closed._replace(on=on)._asdict())
