"""`hadir demo`, as a newcomer runs it."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gateway import demo
from gateway.demo import STILL_S, _settle, _Sum

DEMO = [sys.executable, "-m", "gateway.cli", "demo", "--plain"]
pytestmark = pytest.mark.timeout(900)  # it waits as long as numbers move, on a busy machine too


def started_below(folder: Path) -> set[str]:
    """Return the command lines of all processes that mention ``folder``."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if str(folder) in line:
            found.add(line)
    return found


def test_everything_is_at_the_centre_and_nothing_is_left(tmp_path: Path) -> None:
    """The sum comes out, the exit code says so, no process and no file stay behind."""
    ended = subprocess.run(
        [*DEMO, "--for", "5s"],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = re.search(r"terminals ([\d,]+) += +in the ledger ([\d,]+) += +at the centre ([\d,]+)", ended.stdout)
    receipts = re.search(r"receipts cover ([\d,]+) of ([\d,]+) events", ended.stdout)
    assert found, ended.stdout
    assert re.match(r"status page: http://127\.0\.0\.1:\d+/\n", ended.stdout)
    assert receipts, ended.stdout
    assert receipts[1] == receipts[2]
    assert len(set(found.groups())) == 1
    assert int(found[1].replace(",", "")) > 20_000
    assert list(tmp_path.iterdir()) == []
    assert started_below(tmp_path) == set()


def test_ctrl_c_ends_it_with_the_sum(tmp_path: Path) -> None:
    """An impatient visitor still gets the sum, and until then reads what it waits for."""
    process = subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert process.stdout
    begun = next(line for line in process.stdout if line.startswith("running"))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=800)

    assert "punches in the terminals" in begun
    assert process.returncode == 0, output
    assert "waiting for" in output
    assert "receipts cover" in output.splitlines()[-2]


# --- how long it waits --------------------------------------------------------------------------------------------

DONE = _Sum(in_terminals=20_100, in_ledger=20_100, at_centre=0, events=20_110, covered=20_110)


def settle(sums: Iterator[_Sum], step_s: float, *, ends_at: float = float("inf")) -> tuple[_Sum, float, list[str]]:
    """Settle with numbers that are looked at every ``step_s``; return the sum, how long it took, and what was shown."""
    shown: list[str] = []
    time_s = [0.0]

    def pause(_: float) -> None:
        time_s[0] += step_s

    total = _settle(lambda: next(sums), lambda: time_s[0] >= ends_at, shown.append, lambda: time_s[0], pause)
    return total, time_s[0], shown


def test_it_waits_as_long_as_numbers_move() -> None:
    """However slowly: a busy machine is no failure. What it waits for is shown with how much is missing."""
    sums = [replace(DONE, in_ledger=count, events=count, covered=0) for count in range(20_000, 20_100, 10)]
    sums += [replace(DONE, covered=count) for count in range(20_000, 20_110, 10)]

    total, took_s, shown = settle(iter([*sums, DONE]), STILL_S - 1)

    assert total == DONE
    assert took_s > 20 * (STILL_S - 1)
    assert shown[0] == "the gateway to read 100 more punches"
    assert shown[-1] == "the centre's receipts for 10 events"


def test_it_gives_up_when_nothing_moves_or_a_program_has_ended() -> None:
    """The sum is what it is then, and is not right."""
    stuck = replace(DONE, covered=5)

    total, took_s, _ = settle(iter(lambda: stuck, None), 1.0)
    assert (total, took_s) == (stuck, STILL_S)
    assert settle(iter(lambda: stuck, None), 1.0, ends_at=3.0)[1] == 3.0


def test_container_without_pseudo_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """P2: the serial terminal is left out, and a line says so; the others run."""

    def refuse() -> tuple[int, int]:
        raise OSError(28, "No space left on device")  # what a full or missing devpts says

    monkeypatch.setattr(os, "openpty", refuse)
    terminals, texts = demo._terminals(), io.StringIO()
    with ExitStack() as stack:
        entries = demo._serve_all(stack, terminals, Console(file=texts))
    assert set(entries) == set(terminals) == {"lobby", "gudang", "loket"}
    assert "without the terminal pos" in texts.getvalue()
