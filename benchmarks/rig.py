"""What several benchmarks stand on: an office's log, a broker, the daemon, processes of their own."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.figures import program
from drivers.zkteco.simulator import Generated, generate
from gateway.control import Done, ask

LOG = 100_000
"""Records in a full terminal's log."""
PEOPLE = 300
ZONE = "Asia/Jakarta"
END = datetime(2026, 6, 30, 18, 0, 0)  # noqa: DTZ001 - a terminal's wall clock has no zone
"""When the invented office's log ends."""
SITE, GATEWAY = "bench-office", "gw-01"
PREFIX = f"hadir/v1/{SITE}/{GATEWAY}"


def quiet() -> None:
    """Let the gateway's parts say only what is wrong, and to standard error."""
    structlog.configure(
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


def office_time() -> datetime:
    """Return what a terminal's clock shows there now."""
    return datetime.now(ZoneInfo(ZONE)).replace(tzinfo=None)


def office(records: int, layout: str = "40") -> Generated:
    """Return the log of the same invented office every time."""
    return generate(1, records, PEOPLE, END, layout)


def in_own_process(module: str, *arguments: object, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run ``python -m benchmarks.<module>`` and return the JSON object that it prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def memory_kib(pid: int | str = "self") -> tuple[int, int]:
    """Return the memory of a process now and at its peak, from Linux.

    Not ``ru_maxrss``: a child inherits the peak of the process that started it.
    """
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return int(values["VmRSS"].split()[0]), int(values["VmHWM"].split()[0])


def wait_for(condition: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.02) -> None:
    """Wait until ``condition`` holds; RuntimeError where it takes too long."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(every_s)


@contextmanager
def broker(folder: Path, *lines: str) -> Iterator[int]:
    """Run mosquitto on a free port of the loopback address and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    configuration = folder / "mosquitto.conf"
    # A subscriber that falls behind must not lose messages: all of them are counted.
    output = [f"listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0", *lines]
    output += ["log_dest stderr", "log_type error", "log_type subscribe"]
    configuration.write_text("\n".join(output) + "\n", encoding="utf-8")
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([program("mosquitto"), "-c", str(configuration)], stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(port), 10.0, "mosquitto's start")
        yield port
    finally:
        _end(process)


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def far_away(port: int, round_trip_s: float) -> Iterator[int]:
    """Stand between a client and the port of a server as a line with this round trip would; yield the port to use.

    Bytes are only late: how many may be under way is not limited.
    """
    delay_s = round_trip_s / 2

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            with suppress(OSError):
                while True:
                    due, data = await under_way.get()
                    await asyncio.sleep(max(0.0, due - loop.time()))
                    if not data:
                        break
                    writer.write(data)
                    await writer.drain()
            writer.close()

        arriving = asyncio.create_task(arrive())
        data = b"-"
        while data:
            try:
                data = await reader.read(256 * 1024)
            except OSError:
                data = b""
            under_way.put_nowait((loop.time() + delay_s, data))
        await arriving

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(meet, "127.0.0.1", 0)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def settings_of(broker_port: int, terminals: Mapping[str, str]) -> dict[str, Any]:
    """Return a configuration for terminals at the given addresses, all else by default."""
    return {
        "site": SITE,
        "gateway": GATEWAY,
        "timezone": ZONE,
        "data_dir": "data",
        "web": None,
        "mqtt": {"url": f"mqtt://127.0.0.1:{broker_port}"},
        "terminals": [{"name": name, "driver": "zkteco", "address": address} for name, address in terminals.items()],
    }


class RunningDaemon:
    """The gateway's daemon in a process of its own."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._folder = folder
        self._process = process

    def status(self) -> dict[str, Any] | None:
        """Ask how it is; None where it does not answer (yet). RuntimeError where it has ended."""
        if self._process.poll() is not None:
            output = (self._folder / "daemon.log").read_text("utf-8", "replace")[-500:]
            raise RuntimeError(f"the daemon ended with {self._process.returncode}: {output}")
        data_dir = self._folder / "data"
        answer = ask(data_dir, "status") if data_dir.exists() else None
        return answer.data if isinstance(answer, Done) else None

    def wait_until_settled(self, sequence: int, timeout_s: float) -> None:
        """Wait until all terminals are online, ``sequence`` events are stored, and nothing waits for the broker."""

        def settled() -> bool:
            status = self.status()
            if status is None:
                return False
            health = status["health"]
            online = health["terminals_online"] == health["terminals"]
            return bool(online and health["sequence"] >= sequence and health["backlog"] == 0)

        wait_for(settled, timeout_s, "the daemon's first reading", every_s=0.5)


@contextmanager
def daemon(folder: Path, settings: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Iterator[RunningDaemon]:
    """Run ``hadir run`` with ``settings`` for the length of a block."""
    configuration = folder / "gateway.yaml"
    # JSON is YAML. Each key has a line of its own, as where people write them: `hadir status` looks for one of them.
    lines = [f"{key}: {json.dumps(value)}\n" for key, value in settings.items()]
    configuration.write_text("".join(lines), encoding="utf-8")
    command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(configuration), "--assume-synchronised"]
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}
        )
    try:
        yield RunningDaemon(folder, process)
    finally:
        _end(process)


@contextmanager
def subscriber(port: int, topic: str, take: Callable[[bytes], None]) -> Iterator[None]:
    """Give the payload of every message on ``topic`` to ``take``, as soon as it arrives."""
    received = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="centre", protocol=mqtt.MQTTv5)
    client.on_message = lambda _client, _userdata, message: take(bytes(message.payload))
    client.on_subscribe = lambda *_: received.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.subscribe(topic, qos=1)
    if not received.wait(10):
        raise RuntimeError("the broker does not let us subscribe")
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()
