"""What the torture of a centre relies on; a seed takes minutes on a busy machine: `make torture CENTRE=1`."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.broker import WAIT_S, free_port
from tests.central.lanes.deployment import Line
from tests.torture import clock
from tests.torture.centre import FULL, check_forward
from tests.torture.clock import Clock
from tests.torture.disk import compiled


def test_a_receipt_that_goes_back_is_found() -> None:
    """Of one stream; another stream of the same gateway begins anew."""
    check_forward([("a", "one", 5, []), ("b", "two", 1, []), ("a", "three", 1, [[1, 1]]), ("a", "one", 7, [[6, 6]])])
    check_forward([("a", "one", 5, [[1, 3]]), ("a", "one", 0, []), ("a", "one", 6, [[1, 3]])])

    with pytest.raises(AssertionError, match="it misses 1 that were confirmed, first 5"):
        check_forward([("a", "one", 5, []), ("b", "one", 4, []), ("a", "one", 4, []), ("a", "one", 5, [[5, 5]])])


def test_a_line_leads_to_another_server_after_one_that_was_away() -> None:
    """A connection that no server takes is ended, and costs no other."""
    with Line(free_port()) as line, socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("127.0.0.1", line.port), WAIT_S) as refused:
            assert refused.recv(1) == b""
        line.server = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", line.port), WAIT_S) as client:
            taken, _ = server.accept()
            with taken:
                client.sendall(b"x")
                assert taken.recv(1) == b"x"


SHOWN = "import time; print(time.time(), flush=True); input(); print(time.time()); time.sleep(0.01)"
WRITTEN = """
import os, sys
file = os.open(sys.argv[1], os.O_RDWR)
os.pwrite(file, b"new", 0)
try:
    os.pwrite(file, b"longer than before", 0)
except OSError as error:
    print(error.strerror)
"""


def test_a_clock_is_stepped_under_a_program_that_runs(tmp_path: Path) -> None:
    """And a pause takes as long as ever."""
    own = Clock(tmp_path / "clock", compiled(tmp_path, clock.SOURCE))
    own.set(-86400.0)
    with subprocess.Popen(
        [sys.executable, "-c", SHOWN],
        env=os.environ | own.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        behind = float(process.stdout.readline())
        own.set(86400.5)
        ahead = float(process.communicate("\n", WAIT_S)[0])
    assert process.returncode == 0
    assert 86400.0 + WAIT_S > time.time() - behind > 86400.0 - 1.0
    assert 86400.0 * 2 <= ahead - behind < 86400.0 * 2 + WAIT_S


def test_a_full_disk_takes_what_makes_no_file_longer(tmp_path: Path) -> None:
    """For as long as it is full."""
    file, full = tmp_path / "file", tmp_path / "full"
    file.write_bytes(b"old content")
    environment = os.environ | {"LD_PRELOAD": str(compiled(tmp_path, FULL)), "FULL": str(full)}

    def write() -> str:
        command = [sys.executable, "-c", WRITTEN, str(file)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    full.touch()
    assert (write(), file.read_bytes()) == ("No space left on device", b"new content")
    full.unlink()
    assert (write(), file.read_bytes()) == ("", b"longer than before")
