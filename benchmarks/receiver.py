"""300 terminals that call: the receiver against a starlette handler under uvicorn that stores nothing.

Each server runs in a process of its own and answers polls, and uploads of ten lines, on a new connection for each, as
terminals open them. The receiver hands an upload to eight threads, as many as run the workers, which reply without
storing it: what the ledger takes is measured elsewhere.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from statistics import quantiles
from typing import NamedTuple

from benchmarks.figures import Figure, Plan, times, yes_no
from benchmarks.rig import wait_for

TERMINALS = 300
POLLS_PER_S = 100.0
"""Of 300 terminals that poll every 30 s, ten times as fast."""
POLLS, UPLOADS = 3000, 3000
UPLOAD_EVERY = 4
"""Every fourth request is an upload: ten punches of each in 20 minutes, ten times as fast."""
AT_ONCE = 32
"""Requests under way when the highest rate is measured."""
P99_RATIO, CPU_RATIO = 10.0, 1.0
LINE = b"0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0\n"
READY_S = 30.0
TICKS_PER_S = 100
"""Unit of the processor time in /proc: Linux has no other for programs."""


class Load(NamedTuple):
    """What one server needed for the same requests."""

    p99_ms: float
    """At the pace of the terminals."""
    per_s: float
    """Requests a second, as fast as possible."""
    cpu_ms: float
    """Processor time of one request, at the highest rate."""


def run(plan: Plan) -> Iterator[Figure]:
    """Measure both servers with the same requests."""
    bare, ours = _load("bare", plan), _load("receiver", plan)
    what = f"{TERMINALS} terminals that call"
    ratio = ours.p99_ms / bare.p99_ms
    yield Figure(
        f"{what}, request to reply at {POLLS_PER_S:.0f}/s, p99",
        f"starlette {bare.p99_ms:.1f} ms",
        f"{ours.p99_ms:.1f} ms",
        times(ratio),
        f"≤ {times(P99_RATIO)}",
        yes_no(ratio <= P99_RATIO),
    )
    yield Figure(
        f"{what}, processor time of a request",
        f"starlette {bare.cpu_ms:.2f} ms",
        f"{ours.cpu_ms:.2f} ms",
        times(ours.cpu_ms / bare.cpu_ms),
        f"≤ {times(CPU_RATIO)}",
        yes_no(ours.cpu_ms <= CPU_RATIO * bare.cpu_ms),
    )
    yield Figure(
        f"{what}, requests a second at most",
        f"starlette {bare.per_s:,.0f}",
        f"{ours.per_s:,.0f}",
        times(ours.per_s / bare.per_s),
    )


def _load(kind: str, plan: Plan) -> Load:
    with _server(kind) as (process, port):
        _as_fast_as_possible(port, 200)
        took = _at_pace(port, plan.size(POLLS))
        before = _cpu_s(process.pid)
        begun = time.monotonic()
        count = plan.size(UPLOADS)
        _as_fast_as_possible(port, count)
        elapsed_s = time.monotonic() - begun
        cpu_s = _cpu_s(process.pid) - before
    p99 = quantiles(took, n=100, method="inclusive")[98]
    return Load(p99 * 1000, count / elapsed_s, cpu_s * 1000 / count)


@contextmanager
def _server(kind: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "benchmarks.receiver", kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        wait_for(lambda: _answers(port), READY_S, f"the server {kind}")
        yield process, port
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        return _exchange(port, 0).endswith(b"OK")
    except OSError:
        return False


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _request(number: int) -> bytes:
    serial = f"SYN{number % TERMINALS:010}"
    if number % UPLOAD_EVERY:
        head = f"GET /iclock/getrequest?SN={serial} HTTP/1.1\r\nHost: 10.1.2.3:8088\r\n"
        return f"{head}User-Agent: iClock Proxy/1.09\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode()
    body = LINE * 10
    head = f"POST /iclock/cdata?SN={serial}&table=ATTLOG&Stamp=9999 HTTP/1.1\r\nHost: 10.1.2.3:8088\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _exchange(port: int, number: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), READY_S) as sock:
        sock.sendall(_request(number))
        received = b""
        while data := sock.recv(4096):
            received += data
    return received.removesuffix(b"OK: 10") + b"OK" if received.endswith(b"OK: 10") else received


def _checked(port: int, number: int) -> None:
    reply = _exchange(port, number)
    if not (reply.startswith(b"HTTP/1.1 200") and reply.endswith(b"OK")):
        raise RuntimeError(f"the server answered {reply[:100]!r}")


def _at_pace(port: int, count: int) -> list[float]:
    """Send requests at the pace of the terminals; return how long each took, in seconds."""
    took: list[float] = []

    def call(number: int, due_s: float) -> None:
        time.sleep(max(0.0, due_s - time.monotonic()))
        begun = time.monotonic()
        _checked(port, number)
        took.append(time.monotonic() - begun)

    with ThreadPoolExecutor(16) as pool:
        start = time.monotonic() + 0.1
        for done in [pool.submit(call, number, start + number / POLLS_PER_S) for number in range(count)]:
            done.result()
    return took


def _as_fast_as_possible(port: int, count: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(_checked, port, number) for number in range(count)]:
            done.result()


# --- the servers ------------------------------------------------------------------------------------------------------


def _serve_bare(listening: socket.socket) -> None:
    import uvicorn  # noqa: PLC0415 - only the baseline needs these
    from starlette.applications import Starlette  # noqa: PLC0415
    from starlette.requests import Request  # noqa: PLC0415
    from starlette.responses import PlainTextResponse, Response  # noqa: PLC0415
    from starlette.routing import Route  # noqa: PLC0415

    async def poll(_: Request) -> Response:
        return PlainTextResponse("OK")

    async def take(request: Request) -> Response:
        body = await request.body()
        return PlainTextResponse(f"OK: {body.count(10)}")

    app = Starlette(
        routes=[Route("/iclock/getrequest", poll), Route("/iclock/cdata", take, methods=["POST"])],
    )
    config = uvicorn.Config(app, http="h11", log_config=None, access_log=False, lifespan="off", loop="asyncio")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


def _serve_receiver(listening: socket.socket) -> None:
    from drivers.receiver.http import Reply, Request  # noqa: PLC0415 - the baseline does without
    from drivers.receiver.listener import Config, Limits, Receiver  # noqa: PLC0415
    from drivers.receiver.registry import Body, Collected, Exchange, Registry, Serial  # noqa: PLC0415

    uploads: SimpleQueue[tuple[bytes, Exchange]] = SimpleQueue()

    class Handler:
        def begin(self, request: Request, exchange: Exchange) -> Reply | Body:
            if request.method == "GET":
                return Reply(200, b"OK")
            return Collected(None, None, lambda body: uploads.put((body, exchange)))

    def work() -> None:
        while True:
            body, exchange = uploads.get()
            exchange.reply(Reply(200, b"OK: %d" % body.count(b"\n")))

    for _ in range(8):
        threading.Thread(target=work, daemon=True).start()
    registry = Registry()
    handler = Handler()
    with ExitStack() as stack:
        for number in range(TERMINALS):
            stack.enter_context(registry.register(Serial(f"SYN{number:010}"), handler))
        host, port = listening.getsockname()
        listening.close()
        receiver = Receiver(registry)
        receiver.configure(Config(host, port, limits=Limits(per_address=64, rate=1e6, burst=1e6)))
        receiver.start()
        threading.Event().wait()


SERVERS: dict[str, Callable[[socket.socket], None]] = {"bare": _serve_bare, "receiver": _serve_receiver}


def main() -> None:
    """Serve on a free port, which is the first line of the output."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=SERVERS)
    kind = parser.parse_args().kind
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listening.getsockname()[1], flush=True)
    SERVERS[kind](listening)


if __name__ == "__main__":
    main()
