"""Runs a program that ends with the process that started it: ``python -m gateway.demo.bound PARENT PROGRAM...``.

A demo that is killed cannot end the programs that it started. The kernel sends them SIGTERM in its place, as long as
they were started by its main thread: the signal belongs to the thread that started them.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""``prctl(2)``: the signal that the process receives when its parent ends; it outlives ``execve``."""


def main(parent: int, command: list[str]) -> None:
    """Become ``command``, or end where ``parent`` has ended already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == parent:
        os.execv(command[0], command)  # noqa: S606 - our own command, without a shell


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
