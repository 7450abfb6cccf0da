"""`hadir status --watch` in a real terminal window, and what it draws into windows of any size."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

from gateway.cli.watch import Picture, draw
from gateway.page.attention import Item
from gateway.page.messages import Messages
from tests.broker import WAIT_S, Broker
from tests.gateway.test_app import configured, daemon
from tests.gateway.test_cli import configuration, environment, hadir

ZONE = ZoneInfo("Asia/Jakarta")
ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3|4|9|10)\d(?:;\d+)*m")


class Window:
    """A window with the command in it."""

    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self._slave = slave
        self.process = process
        self.drawn = ""

    def until(self, pattern: str) -> str:
        """Read until something is drawn, behind what was waited for before; return all up to it, without codes."""
        until = time.monotonic() + WAIT_S
        while not (found := re.search(pattern, ANSI.sub("", self.drawn))):
            assert time.monotonic() < until, self.drawn
            if select.select([self._master], [], [], 0.5)[0]:
                self.drawn += os.read(self._master, 65536).decode()
        text, self.drawn = ANSI.sub("", self.drawn)[: found.end()], ""
        return text

    def resize(self, columns: int, rows: int) -> None:
        """Pull at its corner."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def modes(self) -> list[Any]:
        """Return how the window treats what is typed."""
        return termios.tcgetattr(self._slave)


@contextmanager
def window(config: Path, columns: int = 80, rows: int = 24, **env: str) -> Iterator[Window]:
    """Watch in a window of a size."""
    master, slave = pty.openpty()
    surroundings = environment(TERM="xterm-256color", **env)
    del surroundings["COLUMNS"]
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "gateway.cli", "status", "--watch", "-c", str(config)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=surroundings,
    )
    try:
        yield Window(master, slave, process)
    finally:
        process.kill()
        process.wait()
        os.close(slave)
        os.close(master)


def test_it_is_drawn_again_and_ends_with_q(tmp_path: Path) -> None:
    """What changes is seen without a key; the window is then as it was."""
    with Broker(tmp_path) as broker:
        config = configured(tmp_path, broker, {"lobby": "127.0.0.1:9"})
        with window(config) as shown:
            before = shown.modes()
            shown.until("gateway +office/gw, not running")
            with daemon(config):
                shown.until("gateway +office/gw, hadir .*connected.*lobby +offline.*q ends".replace(".*", "[^ÿ]*"))
            shown.type(b"q")
            assert shown.process.wait(WAIT_S) == 0
            assert shown.modes() == before


def test_a_window_that_is_pulled_larger_is_filled_at_once(tmp_path: Path) -> None:
    """No key, and no two seconds."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")
    with window(config, columns=30) as shown:
        assert "kantor/gw-01, not running" not in shown.until("q ends")
        shown.resize(120, 30)
        shown.until("gateway +kantor/gw-01, not running")


@pytest.mark.parametrize("ends", ["ctrl-c", "sigterm"])
def test_ctrl_c_ends_it_as_well(tmp_path: Path, ends: str) -> None:
    """Without a word, and with the screen and the keys given back."""
    with window(configuration(tmp_path, lobby="127.0.0.1:9")) as shown:
        before = shown.modes()
        shown.until("q ends")
        if ends == "ctrl-c":
            shown.type(b"\x03")
        else:
            os.kill(shown.process.pid, signal.SIGTERM)
        assert shown.process.wait(WAIT_S) == 0
        assert shown.modes() == before
        assert "Traceback" not in shown.drawn


def test_without_colour_it_says_the_same(tmp_path: Path) -> None:
    """For windows that have none, and people who want none."""
    with window(configuration(tmp_path, lobby="127.0.0.1:9"), NO_COLOR="1") as shown:
        time_out = time.monotonic() + WAIT_S
        while "q ends" not in shown.drawn and time.monotonic() < time_out:
            shown.drawn += os.read(shown._master, 65536).decode()
        assert "not running" in shown.drawn
        assert not COLOUR.search(shown.drawn)


def test_it_needs_a_window(tmp_path: Path) -> None:
    """With a pipe, or with --json, the command ends with one line."""
    config = configuration(tmp_path, lobby="127.0.0.1:9")
    for more, advice in (((), "needs a terminal window"), (("--json",), "choose one of --json and --watch")):
        done = hadir("status", "--watch", "-c", config, *more)
        assert done.returncode == 2
        assert advice in " ".join(done.stderr.split())


def picture(terminals: int, items: int = 0) -> Picture:
    """Return an office with so many terminals, of which the last is lost, and so much to look at."""
    state: dict[str, Any] = {
        "state": "online",
        "since": "2026-11-24T00:00:00Z",
        "serial": "CEXA193960001",
        "last_punch": "2026-11-24T07:15:00",
        "clock": {"offset_ms": -425_000, "bound_ms": 500},
        "records": 99_000,
        "capacity": 100_000,
    }
    day = {"in_log": 1200, "in_ledger": 1199, "withheld": 0, "sent": 1100, "confirmed": 0}
    names = [f"loket-{number}" for number in range(terminals)]
    return Picture(
        Messages("en", datetime.now(ZONE)),
        {"gateway": "kantor/gw-01, hadir 1.0, running for 3 d 2 h", "ledger": "events " * 40},
        {name: state | ({"state": "offline"} if name == names[-1] else {}) for name in names},
        dict.fromkeys(names, day),
        [{"at": "2026-11-24T00:15:00Z", "message": "terminal lobby: " + "a long story " * 20}] * 9,
        [Item("terminal_offline", urgent=True, what=f"{names[-1]} does not answer", do="Check " * 40)] * items,
    )


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (200, 12)])
@pytest.mark.parametrize("terminals", [1, 4, 64])
@pytest.mark.parametrize("items", [0, 1, 9])
def test_it_fits_into_the_window(columns: int, rows: int, terminals: int, items: int) -> None:
    """No line is broken, none is lost but those of terminals without a problem, and their number is shown."""
    screen = StringIO()
    console = Console(file=screen, width=columns, height=rows, highlight=False, markup=False)
    console.print(draw(picture(terminals, items), console))
    lines = screen.getvalue().splitlines()

    assert len(lines) <= rows
    assert max(map(len, lines)) <= columns
    lost = f"loket-{terminals - 1}"
    row = next(line.split() for line in lines if line.startswith(f"{lost} ") and "does not" not in line)
    assert any("does not answer" in line for line in lines) == (items > 0)
    assert row[:2] == [lost, "offline"]
    assert row[-6:] == ["99", "%", "1,200", "1,199", "1,100", "0"]
    assert ("CEXA193960001" in screen.getvalue()) == (columns >= 100)
    shown = sum(line.startswith("loket-") and "does not" not in line for line in lines)
    more = [line for line in lines if line.startswith("…")]
    assert more == ([f"… {terminals - shown} more".ljust(len(more[0]))] if shown < terminals else [])
    assert lines[-1].endswith("q ends")
