"""No PIN, name or raw byte is shown, whatever file cannot be written: every write of a day fails once."""

import errno
import io
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from drivers import safe_files
from drivers.attlog.terminal import AttlogOptions, AttlogTerminal
from drivers.base import ProtocolError, Refused, UnreadableLog
from gateway.bundle import Bundle, Header, Writer, public_text, signing_key
from gateway.cli.doctor import _report, _write
from gateway.control import Failed, ask
from gateway.control_server import Control
from gateway.doctor import Step
from gateway.identities import Identities
from gateway.ledger import backup, newest_backup, restore
from gateway.page.guard import cookie_key
from gateway.settings import load
from tests.gateway.scripted import record
from tests.gateway.test_full_at_every_commit import MORNING, Day
from tests.gateway.test_privacy import CANARIES, NAME, PIN, RAW, run_steps, shown

__all__ = ["shown"]

WRITES = ("create", "write_all", "rename", "fsync")
"""What every file of ours is written by; see :mod:`drivers.safe_files`."""


class WritePlan:
    """Which write of the day fails, once, and how many there were."""

    def __init__(self, target: int | None, failure: Callable[[str], Exception]) -> None:
        self.target = target
        self.failure = failure
        self.writes: list[str] = []

    def meet(self, name: str, arguments: object) -> None:
        """Count a write; fail at the chosen one, with what was to be written in the text."""
        self.writes.append(name)
        if self.target == len(self.writes):
            raise self.failure(f"{name} {arguments!r} {PIN} {RAW!r}")

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the plan in front of every function that writes."""
        for name in WRITES:
            owner: Any = {"write_all": safe_files, "fsync": os}.get(name, safe_files.Folder)
            patch.setattr(owner, name, self.before(name, getattr(owner, name)))

    def before(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that meets the plan before it does what ``real`` does."""

        def planned(*args: Any, **kwargs: Any) -> Any:
            self.meet(name, args)
            return real(*args, **kwargs)

        return planned


# Longer than 60 lines: a list of what is written, each after what it needs.
def a_day(day: Day, folder: Path, stream: io.StringIO) -> Iterator[Callable[[], object]]:
    """Yield everything that writes a file, or answers over the control socket, with canaries in what is written."""
    ledger, stick = day.ledger, folder / "stick"
    stick.mkdir()

    def visit_that_fails(exc: ProtocolError) -> None:
        exc.capture = f"< {RAW.hex()} {NAME.hex()} {PIN}"
        day.script.silence = exc
        deque(day.lobby._visits._run_visit(), maxlen=0)
        day.script.silence = None

    yield lambda: visit_that_fails(ProtocolError("the answer could not be understood"))
    yield lambda: visit_that_fails(UnreadableLog("a log that no layout explains", RAW + NAME + PIN.encode()))
    yield lambda: day.script.log.append(record(int(PIN), MORNING))
    yield day.visit
    yield lambda: Identities(ledger.path.parent).changes("S", {"mac": "00:17:61:00:00:01"})
    yield lambda: cookie_key(folder)

    options = AttlogOptions.model_validate({"name": "lobby", "path": str(stick), "serial": "S", "number": 1})
    (stick / "1_attlog.dat").write_bytes(b"not a punch\n")

    def refuse() -> None:
        for item in AttlogTerminal(options).deliveries(0.0):
            if isinstance(item, Refused):
                item.write_report(f"not read: {PIN}")

    yield refuse

    def export() -> None:
        key = signing_key(ledger.path.parent)
        header = Header("/hadir/office/gw", "hadir/v1/office/gw", public_text(key), "2026-09-07T00:00:00Z", None, ())
        writer = Writer(stick / "bundle", header, key)
        try:
            for event in ledger.events(0, 50):
                writer.add(event.body)
            writer.flush()
            writer.finish(0)
        finally:
            writer.close()
        Bundle(stick / "bundle").verify()

    yield export
    yield lambda: backup(ledger.path, folder / "copies")

    def answer(requested: dict[str, Any]) -> dict[str, Any]:
        with safe_files.Folder(folder) as place:
            place.write("asked", json.dumps(requested).encode())
        return {}

    def ask_for_it() -> None:
        server = Control(ledger.path.parent, {"file-part": answer})
        try:
            answered = ask(ledger.path.parent, "file-part", records=[PIN, RAW.hex()])
            if isinstance(answered, Failed):
                stream.write(f"hadir: {answered.message}\n")
        finally:
            server.close()

    yield ask_for_it
    yield ledger.close
    yield lambda: restore(ledger.path, newest_backup(folder / "copies") or folder, "/hadir/office/gw")
    yield lambda: report(folder, stream)


def report(folder: Path, stream: io.StringIO) -> None:
    """Write the doctor's report, with the log so far, and show it."""
    (folder / "daemon.log").write_text(stream.getvalue())
    data: dict[str, Any] = {
        "site": "office",
        "gateway": "gw",
        "timezone": "Asia/Jakarta",
        "mqtt": {"url": "mqtt://127.0.0.1"},
    }
    data |= {"data_dir": str(folder / "data"), "terminals": [{"name": "a", "driver": "zkteco", "address": "10.0.0.1"}]}
    configuration = folder / "gateway.yaml"
    configuration.write_text(json.dumps(data))
    settings = load(configuration)
    steps = [Step("gateway", "configuration", "passed", "configuration_read", {"file": "x", "count": 0}, 0.0)]
    path = folder / "report.txt"
    path.unlink(missing_ok=True)
    _write(path, _report(steps, settings, folder / "daemon.log"))
    stream.write(path.read_text())


def run(folder: Path, target: int | None, failure: Callable[[str], Exception], stream: io.StringIO) -> WritePlan:
    """Live through a day in which one write fails; show what people would be shown."""
    folder.mkdir()
    plan = WritePlan(target, failure)
    with pytest.MonkeyPatch.context() as patch:
        day = Day(folder / "data")
        plan.install(patch)
        run_steps(a_day(day, folder, stream), lambda: target is not None and len(plan.writes) >= target, stream)
    with suppress(Exception):  # it may be what has failed
        day.ledger.close()
    report(folder, stream)
    return plan


def full(_text: str) -> Exception:
    """Fail as a full disk does."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("failure", [full, ValueError], ids=["full", "unforeseen"])
def test_no_write_that_fails_shows_what_was_to_be_written(
    tmp_path: Path, shown: io.StringIO, failure: Callable[[str], Exception]
) -> None:
    """Captures, copies, receipts on sticks, bundles, keys, identities, answers over the control socket, reports."""
    writes = run(tmp_path / "whole", None, failure, shown).writes
    assert "step_failed" not in shown.getvalue(), shown.getvalue()
    assert set(writes) == set(WRITES)
    assert len(writes) > 30
    reached = 0
    for number in range(1, len(writes) + 1):
        before = shown.tell()
        run(tmp_path / str(number), number, failure, shown)
        text = shown.getvalue()[before:]
        reached += any(event in text for event in ("step_failed", "capture_failed", "driver_failed", "command_failed"))
        found = CANARIES.search(text)
        assert found is None, f"{writes[number - 1]} {number}\n{text[max(0, found.start() - 800) : found.end() + 100]}"
    assert reached > len(writes) / 3, "failures reach people"
