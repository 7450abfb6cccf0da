"""``hadir doctor``: run the diagnostic steps of :mod:`gateway.doctor`, print their results, write a report."""
# ruff: noqa: T201 - a command line prints

import json
import os
import platform
import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.base import Code, Failure, command_group
from gateway.cli.messages import DOCTOR, PARTS, STEPS
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config, Lang
from gateway.cli.output import open_private, print_json
from gateway.cli.progress import spinner
from gateway.clock import SystemClock
from gateway.doctor import GATEWAY as MACHINE
from gateway.doctor import Outcome, Step, examine, ledger_counts, root_of, sections
from gateway.findings import FINDINGS
from gateway.ledger import ENGINE, LedgerError
from gateway.settings import Settings, load
from gateway.settings_text import SettingsError
from gateway.texts import Language, user_language

LOG_LINES = 200
"""Newest lines of a log that go into a report."""
LOG_LINE = 2000
"""Characters of each of these lines, at most."""
LIBRARIES = ("hadir-gateway", "paho-mqtt", "pydantic", "pyserial", "pyzk", "sqlmodel", "typer")
_PERSON_LINE = re.compile(
    r"(\x1b\[\d+m)*\d{4}-\d\d-\d\dT[\d:.]+Z(\x1b\[\d+m)* \[(\x1b\[\d+m)*(info|warning|error|critical)"
)
_COLOUR = re.compile(r"\x1b\[\d+m")
_MARKS: "dict[Outcome, tuple[str, str]]" = {
    "passed": ("✓", "+"),
    "warned": ("!", "!"),
    "failed": ("✗", "X"),
    "skipped": ("–", "-"),  # noqa: RUF001 - a dash, not a hyphen
}


app = command_group()


@app.command()
def doctor(
    config: Config = DEFAULT_CONFIG,
    lang: Lang = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="FILE", dir_okay=False, help="Write everything found into a text file, to send."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", dir_okay=False, help="The daemon's log; its end goes into the report."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find what is in the way: configuration, disk, clock, each terminal, the broker, the centre.

    Nothing changes at a terminal, and a running gateway keeps its conversations. Under each step that fails (✗) or
    needs care (!) stands what to do; root causes come first. Ends with 0 if there is none, else with 1, or 78 for
    the configuration.
    """
    language = lang or user_language()
    if report is not None and report.exists():
        raise Failure(Code.DISK, f"{report}: there is such a file already", "output")
    steps, settings = examined(config, language, silent=as_json)
    troubled = [step for step in steps if step.outcome in ("failed", "warned")]
    if report is not None:
        _write(report, _report(steps, settings, log))
    if as_json:
        print_json({"ok": not troubled, "steps": [_plain(step, steps, language) for step in steps]})
    else:
        _conclude(steps, language)
        if report is not None:
            print(DOCTOR["reported"].into(language, file=report))
    if troubled:
        raise typer.Exit(Code.CONFIG if troubled[0].name == "configuration" else Code.NEGATIVE)


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a new file; never overwrite an existing one: a mistyped name may be that of the configuration."""
    try:
        with open_private(path, "x") as file:  # private, since it names an office's machines
            file.writelines(f"{line}\n" for line in lines)
    except OSError as exc:
        raise Failure(Code.DISK, f"{path}: {exc.strerror}", "output") from exc


def examined(config: Path, language: Language, *, silent: bool) -> "tuple[list[Step], Settings | None]":
    """Run every step and print each unless ``silent``; return the steps, and the settings if they are valid."""
    began = time.monotonic()
    settings = None
    try:
        settings = load(config)
        outdated = sum(problem.severity == "newly_refused" for problem in settings.problems)
        finding = "configuration_outdated" if outdated else "configuration_read"
        first = Step(MACHINE, "configuration", "passed", finding, {"file": config, "count": outdated}, 0.0)
    except SettingsError as exc:
        first = Step(MACHINE, "configuration", "failed", "configuration_wrong", _mistakes(exc), 0.0)
    steps: list[Step] = []

    def all_steps() -> Iterator[Step]:
        yield Step(**(asdict(first) | {"took_s": time.monotonic() - began}))
        if settings is not None:
            yield from examine(sections(settings, SystemClock()))

    width = max(len(_part(name, language)) for name in ("gateway", "broker", *_names(settings)))
    remaining = all_steps()
    while True:
        with spinner("…"):
            step = next(remaining, None)
        if step is None:
            return steps, settings
        steps.append(step)
        if not silent:
            print("\n".join((_line(step, language, width), *_advice_lines(step, steps, language))), flush=True)


def _mistakes(exc: "SettingsError") -> dict[str, Any]:
    return {"count": len(exc.lines), "first": exc.lines[0], "lines": exc.lines}


def _names(settings: "Settings | None") -> list[str]:
    return [entry.name for entry in settings.terminals] if settings else []


def _part(name: str, language: Language) -> str:
    return PARTS[name].into(language) if name in PARTS else name


def _text(step: "Step", language: Language) -> str:
    return FINDINGS[step.finding].text.into(language, **step.values)


def _advice_lines(step: "Step", steps: "list[Step]", language: Language) -> Iterator[str]:
    """Yield the line below a step: its advice, or the failed step that is the cause of this failure."""
    advice = FINDINGS[step.finding].advice
    if step.outcome not in ("failed", "warned") or advice is None:
        return
    root = root_of(step, steps)
    if root is None:
        text = DOCTOR["advice"].into(language, advice=advice.into(language, **step.values))
    else:
        name = STEPS[root.name].into(language)
        text = DOCTOR["because"].into(language, part=_part(root.part, language), step=name)
    yield f"    {text if _can_print('→') else text.replace('→', '->')}"


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _line(step: "Step", language: Language, width: int = 8) -> str:
    mark, plain = _MARKS[step.outcome]
    mark = mark if _can_print(mark) else plain
    longest = max(len(name.into(language)) for name in STEPS.values())
    place = f"{_part(step.part, language):<{width}}  {STEPS[step.name].into(language):<{longest}}"
    return f"{mark} {place}  {step.took_s:6.2f} s  {_text(step, language)}"


def _plain(step: "Step", steps: "list[Step]", language: Language) -> dict[str, Any]:
    advice, root = FINDINGS[step.finding].advice, root_of(step, steps)
    return {
        **asdict(step),
        "values": {key: str(value) for key, value in step.values.items()},
        "took_s": round(step.took_s, 3),
        "text": _text(step, language),
        "advice": advice.into(language, **step.values) if advice else None,
        "because": None if root is None else {"part": root.part, "name": root.name},
    }


def _conclude(steps: "list[Step]", language: Language) -> None:
    """Print the first root cause; print that all is well only where the centre has confirmed an event."""
    print()
    failed = [step for step in steps if step.outcome == "failed"]
    warned = [step for step in steps if step.outcome == "warned"]
    roots = [step for step in (*failed, *warned) if root_of(step, steps) is None]
    if not roots:
        confirmed = any(step.name == "receipt" and step.outcome == "passed" for step in steps)
        print(DOCTOR["all_well" if confirmed else "unconfirmed"].into(language))
        return
    counted = DOCTOR["counted"].into(language, failed=len(failed), warned=len(warned))
    print(counted if _can_print(counted) else counted.replace("✗", "X"))
    first = roots[0]
    part, name = _part(first.part, language), STEPS[first.name].into(language)
    print(DOCTOR["in_the_way"].into(language, part=part, step=name, text=_text(first, language)))
    if advice := FINDINGS[first.finding].advice:
        print(DOCTOR["next"].into(language, advice=advice.into(language, **first.values)))


# --- the report ---------------------------------------------------------------------------------------------------


def _report(steps: "list[Step]", settings: "Settings | None", log: Path | None) -> Iterator[str]:
    """Yield the lines of a report for support: in English, without secrets, PINs or names of persons."""
    yield f"hadir doctor, {datetime.now().astimezone().isoformat(timespec='seconds')}"
    yield f"{platform.platform()}; Python {platform.python_version()}; {ENGINE}"
    yield ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    yield "\n== Steps"
    width = max(len(step.part) for step in steps)
    yield from (_line(step, Language.ENGLISH, width) for step in steps)
    if settings is None:
        yield "\n== Mistakes in the configuration"
        yield from steps[0].values["lines"]
        return
    yield "\n== Configuration, as it is understood"
    yield json.dumps(_without_secrets(settings.model_dump(mode="json", warnings=False)), indent=2, ensure_ascii=False)
    yield "\n== Ledger"
    yield from _ledger(settings.data_dir)
    yield "\n== Files in data_dir"
    yield from _files(settings.data_dir)
    if log is not None:
        yield f"\n== The end of the log {log}"
        yield from _end_of(log)


def _without_secrets(value: Any) -> Any:
    """Return settings without the user name, which may identify a person; names of secret files stay."""
    if isinstance(value, dict):
        return {
            key: "(set)" if key == "username" and inner is not None else _without_secrets(inner)
            for key, inner in value.items()
        }
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _ledger(folder: Path) -> Iterator[str]:
    try:
        yield json.dumps(asdict(ledger_counts(folder)))
    except (LedgerError, OSError) as exc:
        yield str(exc)


def _files(folder: Path) -> Iterator[str]:
    """Yield sizes and names of the ledger's files only: names of other files may hold personal data."""
    try:
        with os.scandir(folder) as entries:
            own = sorted((entry for entry in entries if entry.name.startswith("ledger.")), key=lambda entry: entry.name)
            yield from (f"{entry.stat().st_size:>14,}  {entry.name}" for entry in own)
        captures = folder / "captures"
        yield f"{sum(1 for _ in captures.iterdir()) if captures.exists() else 0:>14,}  files in captures"
    except OSError as exc:
        yield str(exc.strerror)


def _end_of(log: Path) -> Iterator[str]:
    try:
        with log.open(encoding="utf-8", errors="replace") as file:
            lines: deque[str] = deque(_own_lines(file), maxlen=LOG_LINES)
    except OSError as exc:
        yield f"it cannot be read ({exc.strerror})"
        return
    yield from lines or ["(no line of a daemon of this version is in it)"]


def _own_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the daemon's log lines of level info or above, which hold no PIN; other lines are left out."""
    for line in lines:
        bare = line.strip()
        if bare.startswith("{"):
            try:
                entry = json.loads(bare)
            except ValueError:
                continue
            if {"event", "level", "timestamp"} <= entry.keys() and entry["level"] != "debug":
                yield bare[:LOG_LINE]
        elif _PERSON_LINE.match(bare):
            yield _COLOUR.sub("", bare)[:LOG_LINE]
