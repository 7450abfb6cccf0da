"""`hadir demo`, as a newcomer runs it."""

import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEMO = [sys.executable, "-m", "gateway.cli", "demo", "--plain"]


def children(text: str) -> set[str]:
    """Return the command lines of all processes that mention ``text``."""
    found = set()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if text in line:
            found.add(line)
    return found


def test_everything_is_at_the_centre_and_nothing_is_left(tmp_path: Path) -> None:
    """The sum comes out, the exit code says so, no process and no file stay behind."""
    before = {path.name for path in Path(tempfile.gettempdir()).glob("hadir-demo-*")}

    ended = subprocess.run([*DEMO, "--for", "5s"], capture_output=True, text=True, timeout=100, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = re.search(r"terminals ([\d,]+) += +in the ledger ([\d,]+) += +at the centre ([\d,]+)", ended.stdout)
    receipts = re.search(r"receipts cover ([\d,]+) of ([\d,]+) events", ended.stdout)
    assert found, ended.stdout
    assert re.match(r"status page: http://127\.0\.0\.1:\d+/\n", ended.stdout)
    assert receipts, ended.stdout
    assert receipts[1] == receipts[2]
    assert len(set(found.groups())) == 1
    assert int(found[1].replace(",", "")) > 20_000
    assert {path.name for path in Path(tempfile.gettempdir()).glob("hadir-demo-*")} <= before
    assert children("hadir-demo-") == set()


def test_ctrl_c_ends_it_with_the_sum() -> None:
    """An impatient visitor still gets the sum."""
    process = subprocess.Popen(DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 0, output
    assert "receipts cover" in output.splitlines()[-2]
