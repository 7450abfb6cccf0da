"""Processes that tests start: their error output never blocks them."""

import subprocess
import sys

from tests.broker import WAIT_S
from tests.command import drained

TALKATIVE = """
import sys
for number in range(20_000):
    print(f"line {number} " + "x" * 40, file=sys.stderr)
print("done", flush=True)
sys.stdin.read()
print("last words", file=sys.stderr)
"""


def started() -> "subprocess.Popen[str]":
    """Start a program that writes a megabyte to its error output, says so, and waits."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", TALKATIVE]
    return drained(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))


def test_much_error_output_blocks_nothing_and_is_read_whole() -> None:
    """The program goes on though nobody reads; afterwards every line is there, the first ones first."""
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
