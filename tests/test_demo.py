"""`hadir demo`, as a newcomer runs it."""

import http.client
import io
import os
import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode

import pytest
from rich.console import Console

from gateway.demo.clock import ReplayedTime
from gateway.demo.folder import demo_folder
from gateway.demo.office import PASSWORD, ZONE, Office, make_terminals
from gateway.demo.run import _serve_all, last_workday
from gateway.demo.screen import Words
from gateway.texts import Language
from tests.broker import WAIT_S, eventually

DEMO = [sys.executable, "-m", "gateway.cli", "demo", "--plain"]
pytestmark = pytest.mark.timeout(900)  # it waits as long as numbers move, on a busy machine too


def started_below(folder: Path) -> dict[int, str]:
    """Return number and command line of all processes that mention ``folder``."""
    found = {}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if str(folder) in line:
            found[int(process.parent.name)] = line
    return found


def begun(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], list[str]]:
    """Start the demo; return it when its day has begun, and the lines that it has printed until then."""
    process = subprocess.Popen(
        [*DEMO, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(("running", "berjalan")):
            break
    assert re.search(r"[\d,.]+ (punches in the terminals|presensi di mesin)", lines[-1])
    return process, lines


def text_of(address: str, path: str, cookies: str = "", fields: dict[str, str] | None = None) -> tuple[str, str]:
    """Request a page, or send a form; return its text and the cookies that it sets."""
    connection = http.client.HTTPConnection(address, timeout=WAIT_S)
    given = {"Cookie": cookies, "Origin": f"http://{address}", "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("GET" if fields is None else "POST", path, urlencode(fields) if fields else None, given)
    answer = connection.getresponse()
    assert answer.status in (200, 303), answer.status
    found = [line.partition(";")[0] for line in answer.headers.get_all("set-cookie") or ()]
    text = answer.read().decode()
    connection.close()
    return text, "; ".join(found)


def look_at_pages(status: str, centre: str) -> None:
    """Open the pages at the addresses of the first lines: the gateway's, and a unit's day after a login."""
    assert status.startswith("halaman status: ")
    assert re.match(r"halaman pusat: .* akun atasan, operator, bkd, pemeriksa; kata sandi ", centre)
    assert centre.endswith(f" {PASSWORD}\n")
    page, address = (re.findall(r"http://(127\.0\.0\.1:\d+)/", line)[0] for line in (status, centre))
    assert "gudang" in text_of(page, "/")[0]
    form, cookies = text_of(address, "/login")
    (token,) = re.findall(r'name="form" value="([0-9a-f]+)"', form)
    fields = {"form": token, "account": "atasan", "password": PASSWORD, "next": "/"}
    _, session = text_of(address, "/login", cookies, fields)
    eventually(lambda: "Melati Contoh" in text_of(address, "/today/sekretariat", session)[0])


def test_everything_is_at_the_centre_as_meant_and_nothing_is_left(tmp_path: Path) -> None:
    """The sum comes out and so do the verdicts, the exit code reports it, no process and no file stay behind."""
    ended = subprocess.run(
        [*DEMO, "--for", "5s"],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path), "LC_ALL": "C.UTF-8"},
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
    counted = dict(re.findall(r"│ ([a-z ]+?) +│ +(\d+) │ +\2 │", ended.stdout))
    assert counted == {
        "on time": "28",
        "late": "7",
        "left early": "1",
        "a punch is missing": "1",
        "absent": "1",
        "on leave": "1",
        "off duty": "1",
        "of them provisional": "2",
    }
    assert f"The verdicts on {last_workday(datetime.now(ZONE).date())}" in ended.stdout
    assert "Zamrud Contoh: late 3 min; provisional: the terminal's clock is wrong" in ended.stdout
    assert list(tmp_path.iterdir()) == []
    assert started_below(tmp_path) == {}


def test_ctrl_c_leaves_out_the_pauses(tmp_path: Path) -> None:
    """An impatient visitor still gets sum and verdicts, here in Indonesian, and until then reads what it waits for.

    Both pages answer at the addresses that are printed first, and the centre's shows people.
    """
    process, lines = begun(tmp_path, "--for", "10m", "--lang", "id")
    look_at_pages(*lines[:2])
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=800)

    assert process.returncode == 0, output
    assert "menunggu" in output
    assert re.search(r"│ tepat waktu +│ +28 │ +28 │", output)
    assert "tanda terima" in output.splitlines()[-2]


def test_a_second_ctrl_c_ends_it(tmp_path: Path) -> None:
    """Nothing was compared, and the exit code does not claim so; no process and no file stay behind."""
    process, _ = begun(tmp_path, "--for", "10m")
    assert process.stdout
    process.send_signal(signal.SIGINT)
    # It waits for something: the first signal was handled, no pause holds it any longer.
    next(line for line in process.stdout if line.startswith("waiting"))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=800)

    assert process.returncode == 1, output
    assert "the day was not finished" in output
    assert list(tmp_path.iterdir()) == []
    assert started_below(tmp_path) == {}


def test_a_demo_that_is_killed_leaves_no_program_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it can end them: the kernel does. The next demo removes its folder."""
    process, _ = begun(tmp_path, "--for", "10m")
    others = {number for number in started_below(tmp_path) if number != process.pid}
    process.kill()
    process.communicate(timeout=WAIT_S)

    assert others
    eventually(lambda: started_below(tmp_path) == {})
    [left] = tmp_path.iterdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with demo_folder() as folder:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        with demo_folder() as other:
            assert sorted(tmp_path.iterdir()) == sorted([folder, other]), "what runs stays, what does not is removed"
            assert left not in (folder, other)


def test_a_program_that_ends_too_early_is_named(tmp_path: Path) -> None:
    """The exit code is 1, and its last words are shown."""
    process, _ = begun(tmp_path, "--for", "10m")
    daemon = next(number for number, line in started_below(tmp_path).items() if "gateway.demo.daemon" in line)
    os.kill(daemon, signal.SIGKILL)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=800)

    assert process.returncode == 1, output
    assert "the daemon ended with exit code -9; its last words:" in output
    assert "gateway_started" in output or "poll_finished" in output
    assert started_below(tmp_path) == {}


def test_container_without_pseudo_terminals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """P2: the terminal of the serial line is put on the network with its records, and a line reports it."""

    def refuse() -> tuple[int, int]:
        raise OSError(28, "No space left on device")  # what a full or missing devpts reports

    monkeypatch.setattr(os, "openpty", refuse)
    day = datetime(2026, 9, 2, 5, 40, tzinfo=ZONE)
    office, clock = Office(day.date(), tmp_path / "office"), ReplayedTime(tmp_path / "clock", day)
    terminals, texts = make_terminals(office, clock), io.StringIO()
    recorded = terminals["pos"].count
    with ExitStack() as stack:
        entries = _serve_all(
            stack, office, clock, terminals, "127.0.0.1:9", Console(file=texts), Words(Language.ENGLISH)
        )
    assert set(entries) == set(terminals) == {"lobby", "gudang", "loket", "pos", "aula"}
    assert entries["pos"]["driver"] == "zkteco"
    assert terminals["pos"].count == recorded > 0
    assert "terminal pos is on the network" in texts.getvalue()
