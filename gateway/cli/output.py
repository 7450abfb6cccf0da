"""Text and JSON that commands print: fields, counts, durations, times. It imports no driver."""
# ruff: noqa: T201 - a command line prints

import json
import os
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal, TextIO


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_fields(fields: Mapping[str, object]) -> None:
    """Print names and values, one pair per line, values aligned."""
    width = max(map(len, fields))
    for name, value in fields.items():
        print(f"  {name:<{width}}  {value}")


def grouped(number: int | None) -> str:
    """Return a count with thousands separators; ``?`` for None."""
    return "?" if number is None else f"{number:,}"


def fullness(records: int | None, capacity: int | None, *, short: bool = False) -> str:
    """Return how full a log is: ``1,204 of 100,000 records (1 %)``."""
    percent = f" ({100 * records / capacity:.0f} %)" if capacity and records is not None else ""
    of = f" of {grouped(capacity)}" if capacity and not short else ""
    return f"{grouped(records)}{of}{'' if short else ' records'}{percent}"


def code_text(code: int | None, label: str | None) -> str:
    """Return a raw code followed by its label, if it has one; nothing where the record has no code."""
    return f"{code} {label}" if label else "" if code is None else str(code)


def duration_text(time_span: timedelta) -> str:
    """Return the two largest units of a duration: ``7 min 2 s``."""
    left = round(abs(time_span.total_seconds()))
    parts: list[str] = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count or parts or unit == "s":
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def offset_text(offset_ms: int, bound_ms: int) -> str:
    """Return a clock's offset in words: ``7 min 2 s ahead``, or ``right`` where it is within the measurement error."""
    if abs(offset_ms) <= max(bound_ms, 1000):
        return "right"
    return f"{duration_text(timedelta(milliseconds=offset_ms))} {'ahead' if offset_ms > 0 else 'behind'}"


def local_text(utc: str | None, zone: tzinfo | None) -> str:
    """Return a UTC timestamp (ISO 8601) in local time; ``-`` for None."""
    return "-" if utc is None else f"{datetime.fromisoformat(utc).astimezone(zone):%Y-%m-%d %H:%M:%S}"


def open_private(path: Path, mode: Literal["w", "x"]) -> TextIO:
    """Open a text file for writing; a new file is readable by its owner only.

    With mode ``x`` an existing path raises FileExistsError.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, 0o600)

    return open(path, mode, encoding="utf-8", newline="", opener=opener)
