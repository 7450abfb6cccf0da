"""`policy try --on`: real workers of Dask, one of which is killed; the digests are those of one process."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from central import cluster
from central.cluster import ClusterError, check_address, spread_on
from central.policy.office import OfficePolicies
from central.policy.trial import Part, digest_of, people_on, try_policies
from tests import command
from tests.broker import WAIT_S, eventually, free_port
from tests.central.policy.test_trial import NAMES, centre, run
from tests.central.store.office import POLICIES, Centre
from tests.central.stores import address

__all__ = ["centre"]
BOTH_STORES = True
DATES = date(2026, 1, 1), date(2026, 9, 2)
WORKERS = 4


def dask(stack: ExitStack, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the scheduler or a worker on loopback, for the length of a stack."""
    words = ["--host", "127.0.0.1", "--no-dashboard", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{program}", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Run a scheduler with four workers; yield its address and the workers."""
    with ExitStack() as stack:
        url = f"tcp://127.0.0.1:{free_port()}"
        dask(stack, "scheduler", "--port", url.rpartition(":")[2])
        once = ("--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path))
        workers = [dask(stack, "worker", url, *once, "--name", str(number)) for number in range(WORKERS)]
        with Client(url, timeout=WAIT_S, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            client.wait_for_workers(WORKERS, timeout=WAIT_S)
        yield url, workers


def digest(centre: Centre, spread: Any = None) -> str:
    """Return the digest of all days of everybody under both policies."""
    policies = OfficePolicies(POLICIES)
    with centre.database.reading() as connection:
        people = people_on(connection, None, DATES)
        tried = try_policies(connection, policies, NAMES, people, DATES, centre.now, with_days=False, spread=spread)
        return digest_of(tried, NAMES)


@pytest.mark.file_only
def test_workers_bring_what_one_process_brings_also_where_one_is_killed(
    centre: Centre, scheduler: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    """The parts of a worker that stands still and is then killed are judged by others; parts hold no name."""
    url, workers = scheduler
    alone = digest(centre)
    sent: list[Part] = []
    arrived: list[Part] = []
    at_kill: list[int] = []

    def spread(parts: Any) -> Iterator[Any]:
        sent.extend(parts)
        for found in spread_on(url, address(Path(centre.database.address)), OfficePolicies(POLICIES), NAMES, sent):
            arrived.append(found[0])
            yield found

    workers[0].send_signal(signal.SIGSTOP)
    killer = threading.Thread(target=_kill_where_it_works, args=(url, workers[0], lambda: at_kill.append(len(arrived))))
    killer.start()
    try:
        assert digest(centre, spread) == alone
    finally:
        killer.join()
    assert sorted(arrived) == sorted(sent)
    assert at_kill[0] < len(sent)
    assert {person for part in sent for person in part.people} == {"a", "b", "c"}
    assert "Contoh" not in repr(sent)

    words = ("graded", "starter", "--from", "2026-08-01", "--to", "2026-09-02")
    code, output = run(centre, *words)
    assert (code, "SHA-256 of all results: " in output) == (0, True)
    assert run(centre, *words, "--on", url) == (code, output)


def test_a_new_decree_is_judged_by_workers_as_by_one_process(
    centre: Centre, scheduler: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    """From policies that only the command has, with a worker killed that was given work; `rebuild` is one process."""
    url, workers = scheduler
    folder = tmp_path / "policies"
    shutil.copytree(POLICIES, folder)
    assert central(centre, folder, "recompute")[0] == 0
    before = centre.digests()
    text = (folder / "graded.yaml").read_text("utf-8")
    changed = text.replace('cut: "0.5"', 'cut: "0.25"')
    assert changed != text
    (folder / "graded.yaml").write_text(changed)

    workers[0].send_signal(signal.SIGSTOP)
    killer = threading.Thread(target=_kill_where_it_works, args=(url, workers[0]))
    killer.start()
    try:
        code, output = central(centre, folder, "recompute", "--on", url)
    finally:
        killer.join()
    assert (code, "judged" in output) == (0, True), output
    differing = {day for day, digest in centre.digests().items() if digest != before[day]}
    assert {person for person, _ in differing} == {"a", "b"}, output  # c has another policy
    code, output = central(centre, folder, "rebuild")
    assert (code, ", 0 otherwise" in output) == (0, True), output
    words = "policy", "try", "graded", "starter", "--from", "2026-08-01", "--to", "2026-09-02"
    code, output = central(centre, folder, *words)
    assert (code, "SHA-256 of all results: " in output) == (0, True), output
    assert central(centre, folder, *words, "--on", url) == (code, output)


def central(centre: Centre, folder: Path, *words: str) -> tuple[int, str]:
    """Run a command on the database with the office's own policies."""
    words = (*words, "--db", address(Path(centre.database.address)), "--policies", str(folder))
    done = command.run("central.cli", *words, env=os.environ | {"TERM": "dumb"})
    return done.returncode, done.stdout + done.stderr


def _kill_where_it_works(url: str, worker: subprocess.Popen[bytes], before: Callable[[], None] = lambda: None) -> None:
    """Kill the worker 0, which stands still, when it has been given work."""
    with Client(url, timeout=WAIT_S, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        name = next(one for one, about in _workers(client).items() if str(about["name"]) == "0")
        eventually(lambda: client.processing().get(name))
    before()
    worker.kill()


def _workers(client: Any) -> dict[str, Any]:
    found: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return found


@pytest.mark.file_only
def test_what_cannot_be_used_is_named(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of another machine without TLS, a scheduler that is not there, Dask that is not installed."""
    for wrong in ("http://127.0.0.1:8786", "tcp://127.0.0.1", "127.0.0.1:8786", "tcp://10.0.0.1:8786", "tcp://h:1"):
        with pytest.raises(ValueError, match="write t"):
            check_address(wrong)
    for right in ("tcp://127.0.0.1:8786", "tcp://[::1]:8786", "tcp://localhost:1", "tls://10.0.0.1:8786"):
        assert check_address(right) == right
    words = ("graded", "starter", "--from", "2026-08-31", "--on")
    code, output = run(centre, *words, "tcp://10.0.0.1:8786")
    assert (code, "without TLS" in output) == (2, True)
    monkeypatch.setattr(cluster, "ANSWER_S", 0.1)
    with pytest.raises(ClusterError, match="does not answer"):
        list(spread_on(f"tcp://127.0.0.1:{free_port()}", centre.database.address, OfficePolicies(), (), ()))
    with pytest.raises(ClusterError, match="needs certificates"):
        list(spread_on("tls://127.0.0.1:1", centre.database.address, OfficePolicies(), (), ()))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"hadir-gateway\[cluster\]"):
        list(spread_on("tcp://127.0.0.1:1", centre.database.address, OfficePolicies(), (), ()))
