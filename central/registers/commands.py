"""The commands ``hadir-central registers`` and ``hadir-central calendar``: check files, propose a calendar."""
# ruff: noqa: T201 - a command line prints

import json
import sys
from collections.abc import Iterable
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from central.options import AsJson, InLanguage
from central.registers.kinds import KINDS, Known, Person
from central.registers.problems import Problem, RegisterFileError, printable
from central.registers.read import Register, Scan, read_register
from central.registers.words import summary
from central.texts import Language
from central.words import COLUMNS, REGISTERS, word_of

app = typer.Typer(no_args_is_help=True, help="People, plans, calendar and leave as files: check them before use.")
calendar = typer.Typer(no_args_is_help=True, help="Holidays and cuti bersama of a year.")


FileName = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="CSV, XLSX or YAML.")
]
_COUNTED = ("person", "unit", "terminal", "site", "timetable", "schedule", "policy", "kind", "source", "decision")


def _is_kind(kind: str) -> str:
    if kind not in KINDS:
        raise typer.BadParameter(f"write one of: {', '.join(KINDS)}.")
    return kind


KindName = Annotated[str, typer.Argument(metavar="KIND", callback=_is_kind, help=f"One of: {', '.join(KINDS)}.")]
Sheet = Annotated[str | None, typer.Option(metavar="NAME", help="The sheet of a workbook that has several.")]


@app.callback()
def _registers() -> None:
    """Have this group's commands named."""


@app.command()
def check(
    kind: KindName,
    file: FileName,
    sheet: Sheet = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="KIND=FILE", help="A file whose keys this one refers to; may be repeated."),
    ] = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
) -> None:
    """Read a file (CSV, XLSX or YAML) and name every mistake at its place, or what it holds; nothing is stored.

    Exit code 1 where there is a mistake. Periksa berkas daftar sebelum dipakai; tidak ada yang disimpan.
    """
    try:
        known = _known(beside or [])
        found = read_register(file, kind, known, sheet)
    except RegisterFileError as error:
        print_mistakes(error, file, lang, as_json=as_json)
        raise typer.Exit(1) from None
    contents = _contents(found)
    if as_json:
        remarks = [remark.text(lang) for remark in found.remarks]
        print_json({**contents, "remarks": remarks})
    else:
        _print_contents(contents, found, lang)


def print_mistakes(error: RegisterFileError, file: Path, language: Language, *, as_json: bool) -> None:
    """Print the mistakes of a file that is not taken."""
    count = len(error.problems) + error.more
    if as_json:
        mistakes = [
            {"place": printable(one.place), "code": one.code, "message": one.text(language)} for one in error.problems
        ]
        print_json({"file": printable(file.name), "count": count, "mistakes": mistakes})
        return
    for problem in error.problems:
        print(problem.text(language))
    if error.more:
        print(summary("more", {"more": error.more}, language))
    print(summary("wrong", {"file": printable(file.name), "count": count}, language), file=sys.stderr)


def print_json(value: Any) -> None:
    """Print JSON for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _known(beside: list[str]) -> Known:
    """Return the keys in files that are named beside the one to check."""
    keys: dict[str, frozenset[str]] = {}
    for word in beside:
        name, _, path = word.partition("=")
        if name not in KINDS or KINDS[name].defines is None:
            names = ", ".join(name for name, kind in KINDS.items() if kind.defines)
            raise typer.BadParameter(f"write KIND=FILE with one of: {names}.", param_hint="--with")
        found = read_register(Path(path), name).keys
        if found is not None:
            keys[found[0]] = keys.get(found[0], frozenset()) | found[1]
    return Known(**keys)


def _contents(found: Register) -> dict[str, Any]:
    """Return what a file holds, in numbers."""
    records = [line.record for line in found.lines]
    names = [field.name for field in fields(records[0])]
    dates = [value for record in records for name in names if type(value := getattr(record, name)) is date]
    return {
        "file": found.file,
        "kind": found.kind,
        "entries": len(records),
        "distinct": {
            name: len({value for record in records if (value := getattr(record, name)) is not None})
            for name in _COUNTED
            if name in names
        },
        "first": min(dates).isoformat() if dates else None,
        "last": max(dates).isoformat() if dates else None,
        **_noted(found),
    }


def _noted(found: Register | Scan) -> dict[str, int]:
    """Return how many rows of a file a person should look at though they are no mistakes."""
    records = [line.record for line in found.lines]
    return {
        "one_day": sum(isinstance(one, Person) and one.until == one.since for one in records),
        "estimated": sum(getattr(one, "estimated", False) for one in records),
    }


def print_notes(found: Register | Scan, remarks: Iterable[Problem], language: Language) -> None:
    """Print what a person should look at though it is no mistake."""
    for name, count in _noted(found).items():
        if count:
            print(summary(name, {"count": count}, language))
    for remark in remarks:
        print(summary("remark", {"text": remark.text(language)}, language))


def _print_contents(contents: dict[str, Any], found: Register, language: Language) -> None:
    values = {"file": contents["file"], "rows": contents["entries"], "kind": word_of(REGISTERS, contents["kind"])}
    print(summary("good", values, language))
    for name, count in contents["distinct"].items():
        print(summary("distinct", {"field": word_of(COLUMNS, name), "count": count}, language))
    if contents["first"]:
        print(summary("dates", {"first": contents["first"], "last": contents["last"]}, language))
    print_notes(found, found.remarks, language)


@calendar.callback()
def _calendar() -> None:
    """Have this group's commands named."""


@calendar.command()
def propose(
    year: Annotated[int, typer.Argument(metavar="YEAR", min=1970, max=2099)],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write into a new file, not to the screen.")] = None,
    lang: InLanguage = Language.ENGLISH,
) -> None:
    """Propose Indonesia's holidays and cuti bersama of a year as a calendar file; a person decides.

    Usulan kalender hari libur dan cuti bersama; cocokkan dengan SKB sebelum dipakai.
    """
    try:
        from central.registers.calendar import as_csv, propose  # noqa: PLC0415 - in the extra `centre`
    except ImportError:
        print("hadir-central: this needs the library `holidays` of the extra `centre`.", file=sys.stderr)
        raise typer.Exit(1) from None
    entries = propose(year)
    if out is None:
        print(as_csv(entries), end="")
    else:
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(as_csv(entries))
        except OSError as error:
            raise typer.BadParameter(f"{out}: {error.strerror}", param_hint="--out") from None
    values = {
        "file": out.name if out else year,
        "count": len(entries),
        "estimated": sum(entry.estimated for entry in entries),
    }
    print(summary("proposed", values, lang), file=sys.stderr)
