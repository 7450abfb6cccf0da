"""Runs commands that are killed in the middle of one of their changes: ``python killed_commands.py``.

`kill_point.c` is preloaded. Each line of the input is a request, ``{"arguments": [...], "below": FOLDER, "at": N}``;
the answer is ``[exit code, changes]``, with the letters of that file. Each command is a fork of this process, which has
imported everything, and is killed at its Nth change of a file or a name below the folder; with 0 it runs to its end.
"""

import ctypes
import json
import os
import sys

from gateway import bundle, cli
from gateway.cli import courier, ledger

__all__ = ["bundle", "courier", "ledger"]


def main() -> None:
    """Run one command for each line."""
    library = ctypes.CDLL(None)
    library.changes.restype = ctypes.c_char_p
    for line in sys.stdin:
        request = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.argv = ["hadir", *request["arguments"]]
            library.watch_changes(os.fsencode(request["below"]), ctypes.c_long(request["at"]))
            try:
                cli.main()
            except SystemExit as exc:
                code = exc.code if isinstance(exc.code, int) else int(bool(exc.code))
            else:
                code = 0
            os.write(writing, library.changes())
            os._exit(code)
        os.close(writing)
        changes = os.read(reading, 50_000)
        os.close(reading)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{json.dumps([code, changes.decode()])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
