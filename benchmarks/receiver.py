"""300 terminals that call: the receiver against a starlette handler under uvicorn that stores nothing.

Each server runs in a process of its own and answers polls, and uploads of ten lines, on a new connection for each, as
terminals open them. The receiver hands an upload to eight threads, as many as run the workers, which reply without
storing it. Then the whole way: the daemon with 300 terminals of `driver: push`, from the post to the subscriber; and an
app of `driver: webhook`, from the post to the answer, which is sent after the commit.
"""

import argparse
import asyncio
import hmac
import json
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
from benchmarks.latency import Post
from benchmarks.rig import (
    PREFIX,
    RunningDaemon,
    broker,
    daemon,
    memory_kib,
    office_time,
    settings_of,
    subscriber,
    wait_for,
)

TERMINALS = 300
POLLS_PER_S = 100.0
"""Of 300 terminals that poll every 30 s, ten times as fast."""
POLLS, UPLOADS = 3000, 3000
UPLOAD_EVERY = 4
"""Every fourth request is an upload: ten punches of each in 20 minutes, ten times as fast."""
AT_ONCE = 32
"""Requests under way when the highest rate is measured."""
P99_RATIO, CPU_RATIO = 10.0, 1.0
POSTS, POSTS_PER_S = 600, 15.0
"""Of one app; it may post 20 times a second."""
KEY = b"0123456789abcdef"
LINE = b"0042\t2026-11-30 07:01:02\t0\t1\t0\t0\t0\n"
READY_S = 30.0
MORNING_S = 60
REST_S = 65.0
"""The daemon returns free memory to the system each minute."""
MORE_MB = 50
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
    yield from _compared(bare, ours)
    yield from _morning(bare.p99_ms, plan)
    yield from _app(bare.p99_ms, plan)


def _compared(bare: Load, ours: Load) -> Iterator[Figure]:
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

        def call(number: int) -> None:
            _demand(_exchange(port, _request(number)))

        _as_fast_as_possible(call, 200)
        took = _at_pace(call, plan.size(POLLS))
        before = _cpu_s(process.pid)
        begun = time.monotonic()
        count = plan.size(UPLOADS)
        _as_fast_as_possible(call, count)
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
        return _exchange(port, _request(1)).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a file of the kernel
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _serial(number: int) -> str:
    return f"SYN{number % TERMINALS:010}"


def _request(number: int) -> bytes:
    if number % UPLOAD_EVERY == 0:
        return _upload(number, LINE * 10)
    head = f"GET /iclock/getrequest?SN={_serial(number)} HTTP/1.1\r\nHost: 10.1.2.3:8088\r\n"
    return f"{head}User-Agent: iClock Proxy/1.09\r\nConnection: close\r\nAccept: */*\r\n\r\n".encode()


def _upload(number: int, body: bytes) -> bytes:
    head = f"POST /iclock/cdata?SN={_serial(number)}&table=ATTLOG&Stamp=9999 HTTP/1.1\r\nHost: 10.1.2.3:8088\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), READY_S) as sock:
        sock.sendall(request)
        received = b""
        while data := sock.recv(4096):
            received += data
    return received


def _demand(reply: bytes) -> None:
    if not reply.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {reply[:100]!r}")


def _at_pace(call: Callable[[int], None], count: int, per_s: float = POLLS_PER_S) -> list[float]:
    """Make calls at a pace; return how long each took, in seconds."""
    took: list[float] = []

    def call_when_due(number: int, due_s: float) -> None:
        time.sleep(max(0.0, due_s - time.monotonic()))
        begun = time.monotonic()
        call(number)
        took.append(time.monotonic() - begun)

    with ThreadPoolExecutor(16) as pool:
        start = time.monotonic() + 0.1
        for done in [pool.submit(call_when_due, number, start + number / per_s) for number in range(count)]:
            done.result()
    return took


def _as_fast_as_possible(call: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(call, number) for number in range(count)]:
            done.result()


# --- the daemon -------------------------------------------------------------------------------------------------------


def _morning(bare_p99_ms: float, plan: Plan) -> Iterator[Figure]:
    """Measure the daemon with all terminals: memory at rest, then a morning, post to subscriber."""
    folder = plan.fresh("morning")
    post = Post()
    with ExitStack() as stack:
        broker_port = stack.enter_context(broker(folder))
        idle = settings_of(broker_port, {"none": "127.0.0.1:9"})
        with daemon(plan.fresh("idle"), idle) as running:
            wait_for(lambda: running.status() is not None, READY_S, "the idle daemon")
            time.sleep(REST_S)
            idle_kib, _ = memory_kib(running.pid)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = idle | {
            "receiver": {"listen": f"127.0.0.1:{port}", "limits": {"per_address": 64}},
            "terminals": [
                {"name": f"terminal-{number}", "driver": "push", "serial": _serial(number)}
                for number in range(TERMINALS)
            ],
        }
        stack.enter_context(subscriber(broker_port, f"{PREFIX}/#", lambda body: _arrived(body, post)))
        running = stack.enter_context(daemon(folder, settings))
        wait_for(lambda: _answers(port), READY_S, "the daemon's receiver")
        _as_fast_as_possible(lambda number: _handshake(port, number), TERMINALS)
        wait_for(lambda: _online(running) == TERMINALS, 4 * READY_S, "every terminal online", 0.5)
        count = plan.size(int(MORNING_S * POLLS_PER_S))
        _at_pace(lambda number: _poll_or_punch(port, number, post), count)
        spread = post.spread()
        time.sleep(REST_S)
        full_kib, _ = memory_kib(running.pid)
    above_mb = (full_kib - idle_kib) * 1024 / 1e6
    ratio = spread.p99 / bare_p99_ms
    yield Figure(
        f"{TERMINALS} terminals that call, {POLLS_PER_S / UPLOAD_EVERY:.0f} punches a second, post to subscriber",
        f"request to starlette p99 {bare_p99_ms:.1f} ms",
        str(spread),
        f"p99 {times(ratio)}",
        f"≤ {times(P99_RATIO)}",
        yes_no(ratio <= P99_RATIO),
    )
    yield Figure(
        f"memory of the daemon with {TERMINALS} terminals that call, after that",
        f"idle daemon {idle_kib * 1024 / 1e6:.0f} MB",
        f"{above_mb:.0f} MB more",
        "-",
        f"≤ {MORE_MB} MB more",
        yes_no(above_mb <= MORE_MB),
    )


def _app(bare_p99_ms: float, plan: Plan) -> Iterator[Figure]:
    """Measure posts of one record to the daemon: post to answer, each committed before."""
    folder = plan.fresh("app")
    secret = folder / "secret"
    secret.write_bytes(KEY)
    secret.chmod(0o600)
    with ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        settings = settings_of(stack.enter_context(broker(folder)), {"none": "127.0.0.1:9"}) | {
            "receiver": {"listen": f"127.0.0.1:{port}"},
            "terminals": [{"name": "app", "driver": "webhook", "serial": "APP", "secret_file": str(secret)}],
        }
        stack.enter_context(daemon(folder, settings))
        wait_for(lambda: _answers(port), READY_S, "the daemon's receiver")
        wait_for(lambda: _exchange(port, _post(0)).startswith(b"HTTP/1.1 200"), READY_S, "the app's first post", 0.5)
        took = _at_pace(lambda number: _deliver(port, number + 1), plan.size(POSTS), POSTS_PER_S)
    p50, p99 = (quantiles(took, n=100, method="inclusive")[at] * 1000 for at in (49, 98))
    yield Figure(
        f"an app that posts {POSTS_PER_S:.0f} records a second, each stored before the answer",
        f"request to starlette p99 {bare_p99_ms:.1f} ms",
        f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        f"p99 {times(p99 / bare_p99_ms)}",
    )


def _deliver(port: int, number: int) -> None:
    """Post a record until it is stored, as an app does: on a busy machine more than four may be under way at once."""
    while not _exchange(port, _post(number)).startswith(b"HTTP/1.1 200"):
        time.sleep(0.01)


def _post(number: int) -> bytes:
    at = f"{office_time():%Y-%m-%dT%H:%M:%S}"
    record = {"id": f"a-{number}", "pin": str(100_000 + number), "at": at, "kind": "masuk"}
    body = json.dumps({"records": [record]}).encode()
    signature = hmac.new(KEY, body, "sha256").hexdigest()
    head = f"POST /hook/app HTTP/1.1\r\nHost: 10.1.2.3\r\nX-Hub-Signature-256: sha256={signature}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _online(running: RunningDaemon) -> int:
    status = running.status()
    return 0 if status is None else int(status["health"]["terminals_online"])


def _handshake(port: int, number: int) -> None:
    head = f"GET /iclock/cdata?SN={_serial(number)}&options=all&pushver=2.4.1&DeviceType=att HTTP/1.1\r\n\r\n"
    # Until its worker runs the answer is 503, and a terminal repeats the call.
    wait_for(lambda: _exchange(port, head.encode()).startswith(b"HTTP/1.1 200"), READY_S, f"handshake {number}", 0.5)


def _poll_or_punch(port: int, number: int, post: Post) -> None:
    """Let a terminal poll, or upload one punch of another person."""
    if number % UPLOAD_EVERY:
        _demand(_exchange(port, _request(number)))
        return
    pin = str(100_000 + number)
    body = f"{pin}\t{office_time():%Y-%m-%d %H:%M:%S}\t0\t1\t0\t0\t0\n".encode()
    post.leave(pin)
    _demand(_exchange(port, _upload(number, body)))


def _arrived(body: bytes, post: Post) -> None:
    found = json.loads(body)
    for event in found if isinstance(found, list) else [found]:
        data = event.get("data") if isinstance(event, dict) else None
        if isinstance(data, dict) and data.get("pin"):
            post.arrive(data["pin"])


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
