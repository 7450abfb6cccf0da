"""No PIN, name or body is shown, whatever fails: every statement of the ledger fails once."""

import io
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog
from pydantic import BaseModel, ValidationError

from drivers.base import BadRecord, RawPunch, Reading
from gateway import event as event_module
from gateway import trace
from gateway.event import ReadingContext
from gateway.ledger import Ledger, Limits, Receipt, Selection, backup, newest_backup, restore
from gateway.log import configure_logging
from gateway.mqtt.failure import BrokerUnavailable
from tests.gateway.mutated_messages import SOURCE

PIN, OTHER_PIN, RAW, NAME = "48151623", "42108486", b"\xfe\xedCANARYRAW", b"CANARY-NAME"
CANARIES = re.compile(rf"{PIN}|{OTHER_PIN}|{RAW.hex()}|CANARY|{NAME.hex()}", re.IGNORECASE)
STEPS_BEHIND = 2
"""Steps that are still taken after the failure: what it has left behind may show."""
SERIAL = "CEXA193960001"
AT = "2026-09-07T00:00:00Z"
NOW = datetime(2026, 9, 7, 1, tzinfo=UTC)
MORNING = datetime(2026, 9, 7, 7)  # noqa: DTZ001 - a terminal's wall clock has no zone


class _Plan:
    """Which statement fails, once, and which have been seen."""

    def __init__(self, target: str | None) -> None:
        self.target = target
        self.seen: dict[str, None] = {}

    def meet(self, statement: str, parameters: object) -> None:
        """Fail like a library that repeats what it was given."""
        shape = re.sub(r"\s+", " ", statement)
        self.seen[shape] = None
        if shape == self.target:
            self.target = None
            raise sqlite3.OperationalError(f"disk failure at {statement} with {parameters!r}")


def failing_connect(plan: _Plan) -> Callable[..., sqlite3.Connection]:
    """Return a ``sqlite3.connect`` whose connections follow the plan."""

    class Cursor(sqlite3.Cursor):
        def execute(self, statement: str, parameters: Any = (), /) -> "Cursor":
            plan.meet(statement, parameters)
            super().execute(statement, parameters)
            return self

        def executemany(self, statement: str, parameters: Any, /) -> "Cursor":
            plan.meet(statement, parameters)
            super().executemany(statement, parameters)
            return self

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any) -> Any:
            return super().cursor(Cursor)

    real = sqlite3.connect
    return lambda *args, **kwargs: real(*args, **kwargs | {"factory": Connection})


def context(via: Any = "log") -> ReadingContext:
    """Return who reads."""
    return ReadingContext("lobby", SERIAL, ZoneInfo("Asia/Jakarta"), via, NOW, True, None, False, timedelta(minutes=1))


def a_day(folder: Path) -> Iterator[Callable[[], object]]:
    """Yield everything that is done with a ledger in a day, step by step, with canaries wherever there may be some."""
    held: list[Ledger] = []

    def open_ledger() -> None:
        if held:
            with suppress(Exception):
                held.pop().close()
        held.append(Ledger(folder / "data", SOURCE, limits=Limits(30, 10**9, 1)))

    def ledger() -> Ledger:
        if not held or held[0].failure is not None:
            open_ledger()
        return held[0]

    def records(count: int, pin: str | None = PIN) -> list[RawPunch | BadRecord]:
        uid = None if pin else 7
        found: list[RawPunch | BadRecord] = [
            RawPunch(pin, uid, MORNING + timedelta(seconds=second), 0, 1, "CANARYWC", RAW) for second in range(count)
        ]
        return [*found, BadRecord(RAW + NAME, RAW + NAME, "impossible date")]

    live = RawPunch(PIN, None, MORNING + timedelta(minutes=5), 1, 1, "CANARYWC", RAW)
    late = RawPunch(OTHER_PIN, None, MORNING + timedelta(minutes=9), 1, 1, None, RAW)
    yield open_ledger
    yield lambda: ledger().pin_serial("lobby", SERIAL)
    yield lambda: ledger().record_reading(context(), Reading(0, 4, records(3), "40"), start=date(2026, 9, 8))
    yield lambda: ledger().release(context())
    yield lambda: ledger().record_live(context("live"), live)
    yield lambda: ledger().record_reading(context(), Reading(0, 6, records(5), "40"))
    yield lambda: ledger().record_reading(context(), Reading(0, 3, records(2), "40"))
    yield lambda: ledger().record_reading(context(), Reading(0, 3, records(2, None), "8", by_uid=True), pins={7: PIN})
    yield lambda: ledger().record_delivery(context("serial"), [late])
    yield lambda: ledger().record_delivery(context("app"), [late._replace(source_id=PIN)], ("ATTLOG", PIN))
    yield lambda: ledger().record_file(context("file"), records(8), begun_at=1)
    yield lambda: ledger().note_file(
        context("file"), {"sha256": "0" * 64, "name": "x.dat", "size": 5}, {"defects": [PIN]}
    )
    yield lambda: ledger().held(SERIAL, records(3))
    yield lambda: ledger().tally("lobby", date(2026, 9, 1))
    yield lambda: ledger().hours("lobby", date(2026, 9, 1))
    yield lambda: ledger().quarters(date(2026, 9, 1), date(2026, 9, 30))
    yield lambda: ledger().punch_times("lobby", MORNING)
    yield lambda: ledger().mark_sent([event.sequence for event in ledger().pending(0, 50)])
    yield lambda: ledger().flush_marks()
    yield lambda: ledger().note_receipt(Receipt(stream=ledger().stream, upto=5, missing=((2, 3),), at=AT))
    yield lambda: ledger().resend_missing()
    yield lambda: ledger().resend(Selection(terminal="lobby", days=(date(2026, 9, 1), date(2026, 9, 30))))
    yield lambda: ledger().unsettled(0, 10)
    yield lambda: ledger().counts()
    yield lambda: ledger().verify()
    yield lambda: ledger().open_stream("because")
    yield lambda: backup(ledger().path, folder / "copies")
    yield lambda: ledger().close()
    yield held.clear
    yield lambda: restore(folder / "data" / "ledger.db", newest_backup(folder / "copies") or folder, SOURCE)
    yield open_ledger
    yield lambda: ledger().close()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Collect what the log shows, written as the daemon writes it."""
    stream = io.StringIO()
    before = structlog.get_config()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("gateway.log._is_journal", lambda _stream: False)
    configure_logging()
    structlog.configure(cache_logger_on_first_use=False)
    yield stream
    structlog.configure(**before)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, target: str | None, stream: io.StringIO) -> _Plan:
    """Live through a day in which one statement fails once; show what people would be shown."""
    plan = _Plan(target)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", failing_connect(plan))
        run_steps(a_day(folder), lambda: target is not None and plan.target is None, stream)
    return plan


def run_steps(steps: Iterable[Callable[[], object]], has_failed: Callable[[], bool], stream: io.StringIO) -> None:
    """Run the steps up to ``STEPS_BEHIND`` after the failure; log each exception and write the texts for people."""
    log = structlog.get_logger("gateway")
    behind = 0
    for step in steps:
        behind += has_failed()
        if behind > STEPS_BEHIND:
            break
        try:
            step()
        except Exception as exc:
            log.exception("step_failed")
            log.warning("part_failed", reason=trace.described(exc))
            stream.write(f"hadir: {trace.safe_message(exc)}\n{trace.as_text(exc)}\n")


def test_no_statement_that_fails_shows_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: io.StringIO
) -> None:
    """Each statement of a ledger's day fails once, with its parameters in the library's text."""
    statements = list(run(tmp_path / "whole", monkeypatch, None, shown).seen)
    assert "step_failed" not in shown.getvalue()
    assert len(statements) > 60
    failed = 0
    for number, statement in enumerate(statements):
        before = shown.tell()
        run(tmp_path / str(number), monkeypatch, statement, shown)
        text = shown.getvalue()[before:]
        failed += "step_failed" in text
        found = CANARIES.search(text)
        assert found is None, f"{statement}\n{text[max(0, found.start() - 500) : found.end() + 100]}"
    assert failed > len(statements) / 2, "most failures are shown or logged"


def test_foreign_exceptions_are_shown_by_type_and_ours_by_their_words() -> None:
    """Also where one led to another, and inside a group."""

    class Model(BaseModel):
        pin: int

    def fail() -> None:
        try:
            Model.model_validate({"pin": "CANARY"})
        except ValidationError as exc:
            raise BrokerUnavailable("our own words") from exc

    with pytest.raises(BrokerUnavailable) as caught:
        fail()
    text = trace.as_text(caught.value)
    assert "our own words" in text
    assert "ValidationError" in text
    assert "test_privacy.py" in text
    assert "CANARY" not in text + json.dumps(trace.trace(caught.value))
    group = ExceptionGroup("CANARY", [ValueError("CANARY"), OSError(28, "CANARY")])
    assert CANARIES.search(trace.as_text(group)) is None
    assert "ENOSPC" in trace.as_text(group)
    assert event_module.mask_pin("123") == "***"
