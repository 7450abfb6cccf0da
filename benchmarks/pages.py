"""The page of a unit of 500 with many readers, against the same bytes served by starlette from memory.

Each server is a process of its own. Readers are threads that keep their connection, log in before they are measured,
and request the page again and again; the first request, which makes the page, is measured too.
"""

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

from argon2 import PasswordHasher

from benchmarks.figures import TIMES, Figure, Plan, yes_no
from benchmarks.recompute import START, build
from central.policy.office import OfficePolicies
from central.store import marks
from central.timesheet.affected import Mark
from central.timesheet.recompute import Recompute

PEOPLE = 500
FEW, MANY = 10, 200
"""Readers at once; the many request the page once each."""
REQUESTS = 40
"""Of each of the few."""
AIM_FEW, AIM_MANY = 5, 10
PASSWORD = "correct horse battery"  # noqa: S105 - of an invented account
PUBLIC = "https://presensi.example"
PATH = f"/today/dinas?date={START.isoformat()}"
_MEMORY = """
import sys
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
body = Path(sys.argv[1]).read_bytes()
async def page(_):
    return HTMLResponse(body)
uvicorn.run(Starlette(routes=[Route("/{path:path}", page)]), port=int(sys.argv[2]), http="h11", log_level="error")
"""


class Reader(NamedTuple):
    """A reader: the address that the proxy names, and the cookies of the login."""

    address: str
    cookies: str


def run(plan: Plan) -> Iterator[Figure]:
    """Measure ten readers, and two hundred at once."""
    people = plan.size(PEOPLE)
    folder = plan.fresh("pages")
    _judge(folder / "centre.db", people)
    few, many = FEW, plan.size(MANY)
    with pages_of(folder) as port:
        readers = logged_in(port, max(few, many))
        page = get(port, readers[0])
        assert page.count(b'<th scope="row">') >= people, "the page shows everybody"
    (folder / "page.html").write_bytes(page)
    with _memory(folder / "page.html") as port:
        get(port, readers[0])
        alone = _times(port, readers[:few], REQUESTS)
        alone_many = _times(port, readers[:many], 1)
    with pages_of(folder) as port:
        ours = _times(port, readers[:few], REQUESTS)
        ours_many = _times(port, readers[:many], 1)
    for count, baseline, found, aim in ((few, alone, ours, AIM_FEW), (many, alone_many, ours_many, AIM_MANY)):
        before, after = _p95(baseline), _p95(found)
        yield Figure(
            f"page of a unit of {people}, {len(page) // 1000} kB, {count} readers, 95th percentile",
            baseline=f"{before * 1e3:.1f} ms from memory",
            ours=f"{after * 1e3:.1f} ms",
            ratio=f"{after / before:.1f} {TIMES}",
            aim=f"at most {aim} {TIMES}",
            met=yes_no(after <= aim * before),
        )


def _judge(path: Path, people: int) -> None:
    """Make the database of an office of which one day is judged."""
    database = build(path, people, [START])
    worker = Recompute(database, OfficePolicies(), now=lambda: datetime(2026, 9, 1, 15, tzinfo=UTC))
    with database.writing() as connection:
        marks.mark(connection, [Mark("scope:all", START, START)], {"kind": "benchmark"}, "")
    worker.run()
    database.close()


@contextmanager
def pages_of(folder: Path, db: str | None = None, units: Sequence[str] = ("dinas",)) -> Iterator[int]:
    """Serve the pages of a database, by default ``centre.db`` in the folder, to superiors of these units.

    Behind a proxy, so that each reader has an address of its own.
    """
    accounts, port = folder / "accounts.yaml", _free_port()
    if not accounts.exists():  # another hash would end the sessions
        hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
        keys = f"    role: superior\n    units: [{', '.join(units)}]\n    password: {hashed}\n"
        accounts.write_text("accounts:\n" + "".join(f"  chief{number}:\n{keys}" for number in range(MANY)))
        accounts.chmod(0o600)
    options = ("--db", db or folder / "centre.db", "--accounts", accounts, "--listen", f"127.0.0.1:{port}")
    command = [sys.executable, "-m", "central.cli", "serve", *map(str, options), "--public-url", PUBLIC]
    with running(command, port):
        yield port


@contextmanager
def _memory(page: Path) -> Iterator[int]:
    port = _free_port()
    with running([sys.executable, "-c", _MEMORY, str(page), str(port)], port):
        yield port


@contextmanager
def running(
    command: Sequence[str], port: int | None, log: Path = Path(os.devnull)
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program for the length of a block, which begins when it listens at ``port``; ``log``: what it writes."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        until = time.monotonic() + 60
        while port is not None and socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command[:4])} does not listen")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def logged_in(port: int, count: int) -> list[Reader]:
    """Return readers with sessions; the sessions are in the database and outlive a server."""
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda number: _log_in(port, number), range(count)))


def _log_in(port: int, number: int) -> Reader:
    address = f"10.0.0.{number + 1}"
    headers = {"X-Forwarded-For": address, "Host": "presensi.example", "Origin": PUBLIC}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/login", headers=headers)
    form = connection.getresponse()
    cookies = _cookies(form)
    token = re.search(r'name="form" value="([0-9a-f]+)"', form.read().decode())
    assert token is not None
    fields = {"form": token[1], "account": f"chief{number}", "password": PASSWORD, "next": "/"}
    given = headers | {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", urlencode(fields), given)
    answer = connection.getresponse()
    assert answer.status == 303, answer.status
    answer.read()
    connection.close()
    return Reader(address, _cookies(answer))


def _cookies(response: http.client.HTTPResponse) -> str:
    return "; ".join(line.partition(";")[0] for line in response.headers.get_all("set-cookie") or ())


def get(port: int, reader: Reader, connection: http.client.HTTPConnection | None = None, *, path: str = PATH) -> bytes:
    """Return a page; each request has a connection of its own where none is given."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"X-Forwarded-For": reader.address, "Host": "presensi.example", "Cookie": reader.cookies}
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, answer.status
    return body


def _times(port: int, readers: Sequence[Reader], requests: int) -> list[float]:
    """Return the seconds of each request of readers who begin at the same moment."""
    barrier = threading.Barrier(len(readers))

    def read(reader: Reader) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        barrier.wait()
        found = []
        for _ in range(requests):
            begun = time.perf_counter()
            get(port, reader, connection)
            found.append(time.perf_counter() - begun)
        connection.close()
        return found

    with ThreadPoolExecutor(len(readers)) as threads:
        return [one for found in threads.map(read, readers) for one in found]


def _p95(times: Sequence[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]
