"""The commands ``hadir-central policy``: check policies, run case files, compare two policies, print the schema."""
# ruff: noqa: T201 - a command line prints

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from central.cluster import ClusterError, OnCluster, spread_on, whole
from central.options import InLanguage, clock_of, parse_date
from central.policy.cases import BrokenCaseError, Case, read_cases
from central.policy.document import DocumentError, Node, Place
from central.policy.explain import explain
from central.policy.load import SHIPPED, Library, Policy, PolicyError
from central.policy.model import json_schema
from central.policy.office import OfficePolicies
from central.policy.run import Outcome, results_of, run_case
from central.policy.trial import Side, Spread, Trial, digest_of, people_on, try_policies
from central.registers.lookup import UnknownSubjectError, find_person
from central.registers.words import summary
from central.reports.days import verdict_of
from central.reports.messages import message
from central.screen import print_table
from central.store import retention
from central.store.engine import Database
from central.store.registers import Registers
from central.texts import Language
from central.timesheet.render import day_json, total_json
from central.timesheet.stored import dump_day
from central.words import print_cut

app = typer.Typer(no_args_is_help=True, help="Decrees as data: check them, and test them by worked examples.")

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE...", exists=True, dir_okay=False, readable=True, help="Policies, or case files."),
]
CaseFiles = Annotated[
    list[Path],
    typer.Argument(metavar="CASES...", exists=True, dir_okay=False, readable=True, help="Case files."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Shipped = Annotated[Path, typer.Option("--policies", metavar="FOLDER", help="Where policies known by name are.")]


def _print(value: object) -> None:
    """Write a line to standard output; what cannot be written there stands as an escape."""
    print(str(value).encode("utf-8", "backslashreplace").decode())


@app.command()
def check(files: Files, policies: Shipped = SHIPPED) -> None:
    """Load policies and case files, name every mistake by file, line and column; exit code 1 where there is one."""
    library = Library(policies)
    faults = 0
    for file in files:
        if file.name.endswith(".cases.yaml"):
            faults += _check_cases(file)
            continue
        try:
            policy = library.load_file(file)
        except PolicyError as error:
            faults += len(error.problems)
            for problem in error.problems:
                _print(problem)
        except DocumentError as error:
            faults += 1
            _print(error)
        else:
            dates = f", {len(policy.versions)} dated versions" if len(policy.versions) > 1 else ""
            _print(f"OK: {file}: {policy.name}{dates}")
    if faults:
        raise typer.Exit(1)


def _check_cases(file: Path) -> int:
    """Print what is wrong with the form of a case file; return how many faults."""
    try:
        broken: list[DocumentError] = [case for case in read_cases(file) if isinstance(case, DocumentError)]
    except DocumentError as error:
        broken = [error]
    for fault in broken:
        _print(fault)
    if not broken:
        _print(f"OK: {file}: case file; run it with hadir-central policy test")
    return len(broken)


@app.command()
def test(files: CaseFiles, as_json: AsJson = False, policies: Shipped = SHIPPED) -> None:  # noqa: PT028 - no test of pytest
    """Run case files; exit code 1 where a result is not what was expected, with the policy's line behind it."""
    library = Library(policies)
    reports = [_report(outcome) for file in files for outcome in _outcomes(file, library)]
    failed = [report for report in reports if report["outcome"] != "passed"]
    if as_json:
        counts = {
            name: sum(report["outcome"] == name for report in reports) for name in ("passed", "differs", "broken")
        }
        _print(json.dumps({**counts, "cases": reports}, indent=2))
    else:
        for report in failed:
            _print(f"{report['file']}:{report['line']}: {report['name'] or 'case'}: {report['outcome']}")
            for line in (*report["differences"], *([report["error"]] if report["error"] else [])):
                _print(f"  {line}")
        _print(f"{'FAILED' if failed else 'OK'}: {len(reports)} cases, {len(failed)} not as expected")
    if failed:
        raise typer.Exit(1)


def _outcomes(file: Path, library: Library) -> Sequence[Outcome | DocumentError]:
    try:
        cases = read_cases(file)
    except DocumentError as error:
        return [error]
    return [run_case(case, library) if isinstance(case, Case) else case for case in cases]


def _report(outcome: Outcome | DocumentError) -> dict[str, Any]:
    if isinstance(outcome, DocumentError):
        return {
            "file": outcome.place.file,
            "line": outcome.place.line,
            "name": outcome.name if isinstance(outcome, BrokenCaseError) else None,
            "outcome": "broken",
            "error": str(outcome),
            "differences": [],
            "results": {},
        }
    return {
        "file": outcome.case.place.file,
        "line": outcome.case.place.line,
        "name": outcome.case.name,
        "outcome": "passed" if outcome.passed else "broken" if outcome.error else "differs",
        "error": outcome.error,
        "differences": [str(difference) for difference in outcome.differences],
        "results": outcome.results,
    }


@app.command()
def schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    _print(json.dumps(json_schema(), indent=2))


@app.command("explain")
def explain_(
    policy: Annotated[str, typer.Argument(metavar="POLICY", help="A shipped name, or a file ending in .yaml.")],
    lang: InLanguage = Language.ENGLISH,
    policies: Shipped = SHIPPED,
) -> None:
    """Print a policy in plain sentences with decree and article, to be checked against the decree."""
    _print(explain(_named(Library(policies), policy), lang))


# Longer than 60 lines: a third of them declare the options, and as many refuse those that do not fit together.
@app.command("try")
def try_(
    context: typer.Context,
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="[CASES] POLICY POLICY",
            help="A case file, unless --db is given; then two policies: shipped names, or files ending in .yaml.",
        ),
    ],
    db: Annotated[
        str | None, typer.Option(metavar="FILE", help="Judge what this database of the centre holds.")
    ] = None,
    first: Annotated[
        date | None, typer.Option("--from", metavar="DATE", parser=parse_date, help="The first date, with --db.")
    ] = None,
    last: Annotated[
        date | None, typer.Option("--to", metavar="DATE", parser=parse_date, help="The last date; else the first.")
    ] = None,
    unit: Annotated[str | None, typer.Option(metavar="KEY", help="Only this unit, with those below it.")] = None,
    person: Annotated[str | None, typer.Option(metavar="PERSON", help="Only this person: key, or name.")] = None,
    on: OnCluster = None,
    lang: InLanguage = Language.ENGLISH,
    as_json: AsJson = False,
    policies: Shipped = SHIPPED,
) -> None:
    """Judge the days of a case file, or of a database, under two policies side by side; nothing is stored.

    What is expected in cases plays no part; what is assigned in the database neither. Totals are of the dates asked
    for. Coba dua aturan berdampingan.
    """
    if len(what) != (3 if db is None else 2):
        raise typer.BadParameter("write CASES POLICY POLICY, or with --db POLICY POLICY.", param_hint="POLICY")
    names = what[-2], what[-1]
    library = Library(policies)
    if on is not None and db is None:
        raise typer.BadParameter("a case file is judged here; write --db too.", param_hint="--on")
    if db is None:
        if not Path(what[0]).is_file():
            raise typer.BadParameter(f"no such file: {what[0]}", param_hint="CASES")
        _try_cases(Path(what[0]), names, [_named(library, name) for name in names], as_json=as_json)
        return
    if first is None:
        raise typer.BadParameter("with --db, write the first date to judge: --from YYYY-MM-DD.", param_hint="--from")
    if last is not None and last < first:
        raise typer.BadParameter(f"{last} is before the first date, {first}.", param_hint="--to")
    office = OfficePolicies(policies)
    for name in names:
        if name.endswith(".yaml") or office.policy(name) is None:
            office.add(name, _named(library, name))
    dates = first, last or first
    with Database(db, read_only=True) as database, database.reading() as connection:
        settled = retention.settled_until(connection)
        if settled is not None and dates[0] <= settled:
            raise typer.BadParameter(
                f"evidence until {settled} was deleted or archived: write a later first date.", param_hint="--from"
            )
        people = _people(connection, unit, person, dates, lang)
        spread = None if on is None else _spread(on, db, office, names)
        whole, now = as_json or person is not None, clock_of(context)()
        try:
            trials = try_policies(connection, office, names, people, dates, now, with_days=whole, spread=spread)
            tried = list(trials)
        except ClusterError as error:
            _print(error)
            raise typer.Exit(1) from None
    if as_json:
        _print(json.dumps([_trial_json(one, names) for one in tried], indent=2, ensure_ascii=False))
    else:
        _print_trials(tried, names, lang, with_days=person is not None)


def _spread(on: str, db: str, office: OfficePolicies, names: tuple[str, str]) -> Spread:
    return lambda parts: spread_on(on, whole(db), office, names, parts)


def _people(
    connection: Connection, unit: str | None, person: str | None, dates: tuple[date, date], language: Language
) -> dict[str, str]:
    """Return the people to judge; ends the command where there are none."""
    if unit is not None and person is not None:
        raise typer.BadParameter("write one of --unit and --person.", param_hint="--unit")
    if person is None:
        found = people_on(connection, unit, dates)
        if not found:
            _print(message("days_nobody", language))
            raise typer.Exit(1)
        return found
    try:
        key = find_person(Registers(connection), person).removeprefix("person:")
    except UnknownSubjectError as error:
        _print(summary(error.code, error.values, language))
        raise typer.Exit(1) from None
    return {key: people_on(connection, None, dates).get(key, key)}


def _trial_json(one: Trial, names: tuple[str, str]) -> dict[str, Any]:
    sides = {
        name: {
            "days": {on.isoformat(): day_json(day) for on, day in side.days.items()},
            "totals": {begin.isoformat(): total_json(found) for begin, found in side.totals.items()},
        }
        for name, side in zip(names, one.sides, strict=True)
    }
    return {"person": one.person, "name": one.name, **sides}


def _print_trials(tried: Sequence[Trial], names: tuple[str, str], language: Language, *, with_days: bool) -> None:
    lines: list[tuple[str, ...]] = []
    differing = 0
    for one in tried:
        left, right = one.sides
        rows = [
            *(("days", on) for on in sorted({*left.days, *right.days}) if with_days),
            *(("totals", begin) for begin in sorted({*left.totals, *right.totals})),
        ]
        before = len(lines)
        found = False
        for what, on in rows:
            cells = [_side(side, what, on, language) for side in one.sides]
            found = found or cells[0] != cells[1]
            when = on.isoformat() if what == "days" else message("try_period", language, date=on.isoformat())
            name = f"{one.name} ({one.person})" if len(lines) == before else ""
            lines.append((name, when, *cells, "*" if cells[0] != cells[1] else ""))
        differing += found
    print_table((*(message(f"try_{head}", language) for head in ("person", "when")), *names, ""), lines)
    _print(message("try_digest", language, digest=digest_of(tried, names)))
    _print(message("try_differing", language, people=len(tried), differing=differing))


def _side(side: Side, what: str, on: date, language: Language) -> str:
    if what == "days":
        day = side.days.get(on)
        if day is None:
            return "-"
        content = json.loads(dump_day(day))
        parts = list(verdict_of(content, language))
        status = "" if day.status == "final" else message(f"days_not_{day.status}", language)
        return "; ".join(parts if any(status in part for part in parts) else [*parts, status])
    found = side.totals.get(on)
    if found is None:
        return "-"
    counts = {
        "late": found.late_min,
        "early": found.early_min,
        "missing": found.missing,
        "absent": found.absent_days,
        "not_final": found.provisional_days + found.open_days,
    }
    parts = [message(f"try_{name}", language, count=count) for name, count in counts.items() if count]
    return "; ".join((*parts, message("days_cut", language, cut=print_cut(found.cut, found.cut_rp, language))))


def _try_cases(file: Path, names: tuple[str, str], sides: Sequence[Policy], *, as_json: bool) -> None:
    tables = []
    faults = 0
    cases: Sequence[Case | DocumentError]
    try:
        cases = read_cases(file)
    except DocumentError as error:
        cases = [error]
    for case in cases:
        if isinstance(case, DocumentError):
            faults += 1
            _print(case)
            continue
        found = [results_of(case.span, policy) for policy in sides]
        tables.append({"name": case.name, "line": case.place.line, **dict(zip(names, found, strict=True))})
        if not as_json:
            _print_sides(case, found, names)
    if as_json:
        _print(json.dumps(tables, indent=2))
    if faults:
        raise typer.Exit(1)


def _named(library: Library, name: str) -> Policy:
    node = Node(name, Place("POLICY", 1, 1))
    try:
        return library.load(node, Path())
    except (PolicyError, DocumentError) as error:
        _print(error)
        raise typer.Exit(1) from None


def _print_sides(case: Case, found: list[dict[str, Any]], names: tuple[str, str]) -> None:
    _print(f"{case.name}")
    _print(f"  {'':10} {names[0]:>30} {names[1]:>30}")
    for key, left in found[0].items():
        right = found[1][key]
        if isinstance(left, dict) and "cut" in left:
            mark = " " if _summary(left) == _summary(right) else "*"
            _print(f"{mark} {key:10} {_summary(left):>30} {_summary(right):>30}")


def _summary(result: dict[str, Any]) -> str:
    slots = result.get("slots")
    rupiah = f" Rp{result['cut_rp']}" if result["cut_rp"] else ""
    if slots is None:
        return f"late {result['late_min']} early {result['early_min']} cut {result['cut']}{rupiah}"
    classes = [str(slot["class"]) for slot in slots.values() if slot["class"]]
    shown = [result["class"]] if result["class"] else classes
    return " ".join((result["status"], *shown, f"cut {result['cut']}{rupiah}"))
