"""A calendar of a year as a proposal, from the library `holidays`; a person compares it with the decree.

Needs the extra `centre`.
"""

import csv
import io
from importlib.metadata import version

from holidays.countries.indonesia import Indonesia

from central.registers.kinds import ALL, CalendarEntry

_ESTIMATED = " (perkiraan)"
"""How the library marks a date that no decree has settled."""
_JOINT = "Cuti Bersama "


def propose(year: int) -> list[CalendarEntry]:
    """Return national holidays and cuti bersama of a year, in order of date.

    ``estimated`` marks dates that the library computed, and cuti bersama of a holiday with such a date.
    """
    named = [
        (day, name, kind)
        for category, kind in (("public", "national_holiday"), ("government", "cuti_bersama"))
        for day, names in Indonesia(years=year, categories=(category,), language="id").items()
        if day.year == year
        for name in names.split("; ")
    ]
    uncertain = {name.removesuffix(_ESTIMATED) for _, name, _ in named if name.endswith(_ESTIMATED)}
    return sorted(
        (
            CalendarEntry(
                date=day,
                until=None,
                kind=kind,
                scope=ALL,
                name=name.removesuffix(_ESTIMATED),
                estimated=name.endswith(_ESTIMATED) or name.removeprefix(_JOINT) in uncertain,
            )
            for day, name, kind in named
        ),
        key=lambda entry: (entry.date, entry.kind, entry.name),
    )


def as_csv(entries: list[CalendarEntry]) -> str:
    """Return entries as a calendar file that :func:`central.registers.read.read_register` reads."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("date", "kind", "scope", "name", "estimated", "note"))
    source = f"proposal of holidays {version('holidays')}; compare with the SKB"
    for entry in entries:
        writer.writerow(
            (
                entry.date.isoformat(),
                entry.kind,
                entry.scope,
                entry.name,
                "yes" if entry.estimated else "no",
                source,
            )
        )
    return out.getvalue()
