"""Processes that tests start: error output never blocks them, and a forked one is as one that was started anew."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import WAIT_S
from tests.command import Started, drained, start

TALKATIVE = """
import sys
for number in range(20_000):
    print(f"line {number} " + "x" * 40, file=sys.stderr)
print("done", flush=True)
sys.stdin.read()
print("last words", file=sys.stderr)
"""


def started() -> "subprocess.Popen[str]":
    """Start a program that writes a megabyte to its error output, reports it, and waits."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", TALKATIVE]
    return drained(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))


def test_much_error_output_blocks_nothing_and_is_read_whole() -> None:
    """The program goes on though its output is not read; afterwards every line is there, the first ones first."""
    process = started()
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    _, rest = process.communicate("", timeout=WAIT_S)
    lines = rest.splitlines()
    assert len(lines) == 20_001
    assert (lines[0][:7], lines[-2][:11], lines[-1]) == ("line 0 ", "line 19999 ", "last words")


def test_error_output_of_a_closed_end_blocks_nothing() -> None:
    """The test has closed its end."""
    process = started()
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.close()
    process.stderr = None
    assert process.stdout.readline() == "done\n"
    process.communicate("", timeout=WAIT_S)
    assert process.returncode == 0


def test_a_forked_command_ends_as_any_other(tmp_path: Path) -> None:
    """Outputs, exit code, working directory and environment are its own; both outputs may be one file."""
    process = start("gateway.cli", "status", "-c", "missing.yaml", env=os.environ | {"LANG": "C"})
    assert isinstance(process, Started)
    out, err = process.communicate(timeout=WAIT_S)
    assert (out, process.returncode, process.poll()) == ("", 78, 78)
    assert "missing.yaml" in err
    with (tmp_path / "log").open("w") as log:
        process = start("gateway.cli", "--version", env=os.environ, output=log)
        assert (process.wait(WAIT_S), process.stdout, process.stderr) == (0, None, None)
    assert (tmp_path / "log").read_text().startswith("hadir ")
    other = start("gateway.cli", "--version", env=os.environ | {"PYTHONOPTIMIZE": "1"})
    assert not isinstance(other, Started)
    assert other.communicate(timeout=WAIT_S)[0].startswith("hadir ")


def test_a_forked_command_takes_signals() -> None:
    """One that was killed states by which signal; waiting for one that runs ends in time."""
    process = start("gateway.cli", "simulate", "zkteco", "--port", 0, env=os.environ)
    assert process.stdout is not None
    assert process.stdout.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    assert process.poll() is None
    process.kill()
    assert process.wait(WAIT_S) == -signal.SIGKILL
    process.communicate()
    process.send_signal(signal.SIGTERM)  # it has no number any more
    process = start("gateway.cli", "simulate", "zkteco", "--port", 0, env=os.environ)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=WAIT_S)
    assert process.returncode in (0, 128 + signal.SIGINT)
