"""The backlog of a terminal that calls: ATTLOG in batches of 150 lines, against `hadir import` of the same lines.

The terminal posts one batch after another, each on a connection of its own; a batch is acknowledged after its commit.
The file is a flash disk's export with the same punches. Both processes are new, and begin with an empty ledger.
"""

import socket
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.figures import Figure, Plan, times, yes_no
from benchmarks.rig import daemon, in_own_process, settings_of, wait_for

LINES, BATCH = 30_000, 150
LEAST_RATIO = 0.5
SERIAL = "CEXA193960001"
READY_S = 60.0


def run(plan: Plan) -> Iterator[Figure]:
    """Measure both with the same punches."""
    count = plan.size(LINES)
    punches = list(_punches(count))
    export = plan.fresh("files") / f"{SERIAL}_attlog.dat"
    export.write_bytes(b"".join(b"%9d\t%s\t1\t%d\t1\t0\r\n" % punch for punch in punches))
    imported = in_own_process("import_file", str(export), plan.fresh("import"))
    baseline = count / imported["wall_s"]
    rate = count / _posted(plan.fresh("daemon"), punches)
    yield Figure(
        f"{count:,} punches of a terminal that calls, in batches of {BATCH}",
        f"`hadir import` {baseline:,.0f} lines/s",
        f"{rate:,.0f} lines/s",
        times(rate / baseline),
        f"≥ {times(LEAST_RATIO)}",
        yes_no(rate >= LEAST_RATIO * baseline),
    )


def _punches(count: int) -> Iterator[tuple[int, bytes, int]]:
    moment = datetime(2024, 1, 1, 7)  # noqa: DTZ001 - a terminal's wall clock
    for index in range(count):
        moment += timedelta(seconds=61 + index * 7919 % 900)
        yield 1000 + index * 31 % 400, str(moment).encode(), index % 2


def _posted(folder: Path, punches: list[tuple[int, bytes, int]]) -> float:
    """Return how many seconds the daemon takes until it has acknowledged all punches."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = settings_of(1, {}) | {
        "receiver": {"listen": f"127.0.0.1:{port}"},
        "terminals": [{"name": "lobby", "driver": "push", "serial": SERIAL}],
    }
    bodies = [
        b"".join(b"%d\t%s\t%d\t1\t0\t0\t0\n" % (pin, moment, state) for pin, moment, state in punches[at : at + BATCH])
        for at in range(0, len(punches), BATCH)
    ]
    with daemon(folder, settings):
        begin = "&options=all"
        wait_for(lambda: b" 200 " in _call(port, "GET", "cdata", begin), READY_S, "the daemon", 0.1)
        begun_s = time.monotonic()
        for body in bodies:
            wanted = b"OK: %d" % body.count(b"\n")
            reply = _call(port, "POST", "cdata", "&table=ATTLOG&Stamp=9999", body)
            if not reply.endswith(wanted):
                raise RuntimeError(f"the daemon answered {reply[:100]!r}")
        return time.monotonic() - begun_s


def _call(port: int, method: str, resource: str, query: str, body: bytes = b"") -> bytes:
    target = f"/iclock/{resource}?SN={SERIAL}{query}"
    head = f"{method} {target} HTTP/1.1\r\nHost: 10.1.2.3:8088\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), READY_S) as sock:
            sock.sendall(head.encode() + body)
            received = b""
            while data := sock.recv(4096):
                received += data
    except ConnectionRefusedError:
        return b""
    return received
