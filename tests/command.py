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
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection, reduction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

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
    if _is_for_the_interpreter(env):
        command = [sys.executable, "-m", module, *map(str, arguments)]
        return subprocess.run(
            command, input=stdin, env=dict(env), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    with TemporaryDirectory() as folder:
        given = Path(folder, "0")
        given.write_text(stdin)
        texts = [str(argument) for argument in arguments]
        with given.open() as into, Path(folder, "1").open("w") as out_file, Path(folder, "2").open("w") as err_file:
            process = _forked(module, texts, env, (into.fileno(), out_file.fileno(), err_file.fileno()))
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


class Started(subprocess.Popen[str]):
    """A command that runs, forked from the server process; what tests use of :class:`subprocess.Popen`."""

    _child_created = False  # not by the class itself, whose __del__ would look for it

    def __init__(
        self, module: str, arguments: Sequence[object], env: Mapping[str, str], output: IO[Any] | None = None
    ) -> None:
        """Start ``main`` of a module with pipes, or with both outputs in a file."""
        texts = [str(argument) for argument in arguments]
        self.args = [module, *texts]
        self.stdin = self.stdout = self.stderr = None
        self._status = threading.Lock()
        if output is not None:
            with Path(os.devnull).open() as nothing:
                given = (nothing.fileno(), output.fileno(), output.fileno())
                self._process = _forked(module, texts, env, given)
        else:
            (into, stdin), (stdout, out), (stderr, err) = (os.pipe() for _ in range(3))
            self._process = _forked(module, texts, env, (into, out, err))
            for number in (into, out, err):
                os.close(number)
            self.stdin = os.fdopen(stdin, "w", buffering=1)
            self.stdout, self.stderr = os.fdopen(stdout), os.fdopen(stderr)
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code; None while it runs."""
        with self._status:
            code: int | None = self._process.exitcode
        self.returncode = code
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        connection.wait([self._process.sentinel], timeout)
        code = self.poll()
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[Any, Any]:  # noqa: A002 - its name
        """Write ``input``, read both outputs to their end, and wait for the end of the process."""
        if self.stdin is not None and not self.stdin.closed:
            with suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input or "")
        outputs: dict[str, str | None] = {"stdout": None, "stderr": None}

        def read(name: str, stream: IO[str]) -> None:
            with stream:
                outputs[name] = stream.read()

        streams = [(name, stream) for name in outputs if (stream := getattr(self, name)) and not stream.closed]
        readers = [threading.Thread(target=read, args=given, daemon=True) for given in streams]
        for reader in readers:
            reader.start()
        until = None if timeout is None else time.monotonic() + timeout
        for reader in readers:
            reader.join(None if until is None else max(0.0, until - time.monotonic()))
        self.wait(None if until is None else max(0.0, until - time.monotonic()))
        return outputs["stdout"], outputs["stderr"]


def start(
    module: str, *arguments: object, env: Mapping[str, str], output: IO[Any] | None = None
) -> subprocess.Popen[str]:
    """Start ``main`` of a module and return its process; its outputs are pipes, or both are ``output``."""
    if not _is_for_the_interpreter(env):
        return Started(module, arguments, env, output)
    pipe = subprocess.PIPE
    into, out = (pipe, pipe) if output is None else (subprocess.DEVNULL, output)
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, env=dict(env), stdin=into, stdout=out, stderr=out, text=True, bufsize=1)


def _is_for_the_interpreter(env: Mapping[str, str]) -> bool:
    """Return whether the environment has what only an interpreter or a loader reads when it starts."""
    return any(name.startswith(("PYTHON", "LD_")) and os.environ.get(name) != value for name, value in env.items())


def _forked(module: str, arguments: list[str], env: Mapping[str, str], streams: tuple[int, int, int]) -> Any:
    """Start a process of the server with these descriptors as its standard streams."""
    process = _FORKS.Process(target=_command, args=(module, arguments, dict(env), Path.cwd(), _Streams(streams)))
    process.start()
    return process


class _Streams:
    """Descriptors on their way to a process that the server forks."""

    def __init__(self, numbers: tuple[int, int, int]) -> None:
        self._numbers: tuple[Any, ...] = numbers

    def __getstate__(self) -> dict[str, Any]:
        return {"_numbers": [reduction.DupFd(number) for number in self._numbers]}

    def take(self) -> None:
        """Make them the standard streams of this process."""
        for number, given in enumerate([given.detach() for given in self._numbers]):
            os.dup2(given, number)
            os.close(given)


def _command(module: str, arguments: list[str], env: dict[str, str], cwd: Path, streams: "_Streams") -> None:
    streams.take()
    sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    os.chdir(cwd)
    sys.argv = [module, *arguments]
    importlib.import_module(module).main()
