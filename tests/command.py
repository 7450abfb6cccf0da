"""Runs our commands as processes of their own: short ones without importing everything anew, long ones never blocked.

A server process that has imported the programs forks itself for each command: what a command does to its process ends
with it, as always, and hundreds of commands do not take a second each.
"""

import importlib
import multiprocessing
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from gateway.cli.app import COMMANDS

sys.path.append(str(Path(__file__).parent.parent))  # the processes find this module by it
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "gateway.cli",
        *(f"gateway.cli.{module}" for module in dict.fromkeys(entry.module for entry in COMMANDS.values())),
        "central.cli",
        "central.inbox",
    ]
)


def run(
    module: str, *arguments: object, stdin: str = "", env: Mapping[str, str], timeout_s: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run ``main`` of a module to its end, and return what it wrote and its exit code."""
    # What the interpreter itself reads when it starts.
    if any(name.startswith("PYTHON") and os.environ.get(name) != value for name, value in env.items()):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.run(
            command, input=stdin, env=dict(env), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    with TemporaryDirectory() as folder:
        given = Path(folder, "0")
        given.write_text(stdin)
        texts = [str(argument) for argument in arguments]
        process = _FORKS.Process(target=_command, args=(module, texts, dict(env), Path.cwd(), Path(folder)))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(texts, timeout_s)
        out, err = (Path(folder, name).read_text() for name in "12")
        return subprocess.CompletedProcess(texts, process.exitcode, out, err)


def drained(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
    """Return the process with an error output that never blocks it, however much it writes and however late it is read.

    A pipe holds 64 KiB; a daemon that logs more would wait for the test. Its ``stderr`` is read as that of any process.
    """
    assert process.stderr is not None
    written, waiting = process.stderr, queue.SimpleQueue[bytes]()
    reading, writing = os.pipe()
    process.stderr = os.fdopen(reading, encoding="utf-8")

    def collect() -> None:
        with written:
            while chunk := os.read(written.fileno(), 65536):
                waiting.put(chunk)
        waiting.put(b"")

    def pass_on(stream: IO[bytes]) -> None:
        with suppress(BrokenPipeError), stream:  # the test has closed its end
            while chunk := waiting.get():
                stream.write(chunk)
                stream.flush()

    threading.Thread(target=collect, daemon=True).start()
    threading.Thread(target=pass_on, args=(os.fdopen(writing, "wb"),), daemon=True).start()
    return process


def _command(module: str, arguments: list[str], env: dict[str, str], cwd: Path, folder: Path) -> None:
    os.dup2(os.open(folder / "0", os.O_RDONLY), 0)
    for number in (1, 2):
        os.dup2(os.open(folder / str(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8") for number, mode in enumerate(("r", "w", "w"))
    )
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()
