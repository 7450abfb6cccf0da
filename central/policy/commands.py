"""The commands ``hadir-central policy``: check policies, run case files, compare two policies, print the schema."""
# ruff: noqa: T201 - a command line prints

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from central.options import InLanguage
from central.policy.cases import BrokenCaseError, Case, read_cases
from central.policy.document import DocumentError, Node, Place
from central.policy.explain import explain
from central.policy.load import SHIPPED, Library, Policy, PolicyError
from central.policy.model import json_schema
from central.policy.run import Outcome, results_of, run_case
from central.texts import Language

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


@app.command("try")
def try_(
    file: Annotated[
        Path, typer.Argument(metavar="CASES", exists=True, dir_okay=False, readable=True, help="A case file.")
    ],
    first: Annotated[str, typer.Argument(metavar="POLICY", help="A shipped name, or a file ending in .yaml.")],
    second: Annotated[str, typer.Argument(metavar="POLICY", help="The policy to compare with.")],
    as_json: AsJson = False,
    policies: Shipped = SHIPPED,
) -> None:
    """Judge the days of a case file under two policies, side by side; what is expected there plays no part."""
    library = Library(policies)
    sides = [_named(library, name) for name in (first, second)]
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
        tables.append({"name": case.name, "line": case.place.line, **dict(zip((first, second), found, strict=True))})
        if not as_json:
            _print_sides(case, found, (first, second))
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
