"""Runs our commands as processes of their own, without importing everything anew for each.

A server process that has imported the programs forks itself for each command: what a command does to its process ends
with it, as always, and hundreds of commands do not take a second each.
"""

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.append(str(Path(__file__).parent.parent))  # the processes find this module by it
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["gateway.app", "gateway.cli", "gateway.demo", "central.cli", "central.inbox", "rich.table"]
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
