"""Mutations of what a ZKTeco terminal sends: logs, packets, events, tables, conversations, changed in two places."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from random import Random

from drivers.base import BadRecord, DriverError, Live, Logged, RawPunch
from drivers.zkteco import layouts, wire
from drivers.zkteco.simulator import SimulatedTerminal, Simulator
from drivers.zkteco.terminal import ZktecoOptions, connect
from tests.mutation import mutate_bytes

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock
EVENT_LENGTHS = (10, 12, 14, 32, 36, 37, 52)


def attack(seed: int) -> None:
    """Read one mutated input with the pure part of the driver; raise whatever is neither a value nor a WireError."""
    random = Random(seed)
    with suppress(wire.WireError):
        random.choice((_read_log, _read_stream, _read_event, _read_users, _read_numbers))(random)


def attack_conversation(seed: int) -> None:
    """Hold a conversation in which two answers are changed on their way; raise whatever is no DriverError."""
    random = Random(seed)
    terminal = SimulatedTerminal(serial="M", layout=random.choice(sorted(layouts.LAYOUTS)))
    for number in range(12):
        terminal.punch(str(1001 + number), moment=NOON + timedelta(minutes=number))
    with Simulator(terminal) as simulator, mutating(simulator.port, random) as port, suppress(DriverError):
        options = ZktecoOptions(
            name="m", address=f"127.0.0.1:{port}", timeout=parsed("300ms"), bulk_timeout=parsed("300ms")
        )
        with connect(options) as conversation:
            conversation.identify()
            conversation.read_clock()
            assert isinstance(conversation, Logged)
            for record in conversation.read().records:
                check(record)
            conversation.pins()
            assert isinstance(conversation, Live)
            for _ in conversation.events(0.01):
                pass


def parsed(duration: str) -> float:
    """Return the text of a duration, which the options read."""
    return duration  # type: ignore[return-value]  # validated by the options


def check(record: object) -> None:
    """See that what a driver hands out is a record whose parts are what they promise to be."""
    assert isinstance(record, RawPunch | BadRecord)
    if isinstance(record, RawPunch):
        assert record.pin is None or (0 < len(record.pin) <= 24 and record.pin.isprintable())
        assert isinstance(record.raw, bytes)


def _rows(layout: str, random: Random) -> bytes:
    return b"".join(
        layouts.encode_record(
            layout, pin=str(1001 + row), uid=1 + row, moment=NOON + timedelta(minutes=row), state=0, verify=1, index=row
        )
        for row in range(random.randrange(1, 60))
    )


def _read_log(random: Random) -> None:
    layout = random.choice(sorted(layouts.LAYOUTS))
    body = mutate_bytes(_rows(layout, random), random)
    count = random.choice((None, 0, len(body) // layouts.LAYOUTS[layout].stride))
    found = layouts.choose_layout(layouts.Sample.whole(body), count, random.choice((None, layout)), None)
    for record in found.decode(body):
        check(record)


def _read_stream(random: Random) -> None:
    packets = (
        wire.Packet(wire.CMD_ACK_OK, 7, 1),
        wire.Packet(wire.CMD_PREPARE_DATA, 7, 2, struct.pack("<II", 480, 1008)),
        wire.Packet(wire.CMD_DATA, 7, 2, _rows("40", random)),
        wire.Packet(wire.CMD_REG_EVENT, 1, 0, wire.encode_event(32, pin="1", uid=1, moment=NOON, state=0, verify=1)),
    )
    stream = mutate_bytes(b"".join(packet.to_tcp() for packet in packets), random)
    reader = wire.StreamReader()
    reader.expect_burst(random.random() < 0.5)
    for at in range(0, len(stream), 100):
        for bare in reader.feed(stream[at : at + 100]):
            packet = wire.Packet.from_bytes(bare)
            wire.checksum_holds(bare)
            assert len(packet.data) <= len(stream)


def _read_event(random: Random) -> None:
    data = wire.encode_event(random.choice(EVENT_LENGTHS), pin="1001", uid=1, moment=NOON, state=0, verify=1)
    event = wire.decode_event(wire.Packet(wire.CMD_REG_EVENT, 1, 0, mutate_bytes(data, random)))
    if isinstance(event, RawPunch):
        check(event)


def _read_users(random: Random) -> None:
    stride = random.choice((28, 72))
    rows = b"".join(wire.encode_user(stride, uid=number, pin=str(1000 + number)) for number in range(1, 20))
    pins = wire.decode_pins(mutate_bytes(rows, random))
    assert all(0 <= uid <= wire.USHRT_MAX and pin for uid, pin in pins.items())


def _read_numbers(random: Random) -> None:
    wire.decode_sizes(mutate_bytes(wire.encode_sizes(records=10, capacity=100, users=5), random))
    wire.decode_time(int.from_bytes(mutate_bytes(wire.encode_time(NOON).to_bytes(4, "little"), random)[:4], "little"))


@contextmanager
def mutating(port: int, random: Random) -> Iterator[int]:
    """Bench between a driver and a simulator, and change two of the answers."""
    changed = {random.randrange(2, 24) for _ in range(2)}

    def forward(source: socket.socket, target: socket.socket, change: Callable[[int, bytes], bytes]) -> None:
        count = 0
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(change(count, data))
                count += 1
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            ours, _ = listener.accept()
            with ours, socket.create_connection(("127.0.0.1", port)) as theirs:
                back = threading.Thread(
                    target=forward,
                    args=(theirs, ours, lambda n, data: mutate_bytes(data, random, 1) if n in changed else data),
                )
                back.start()
                forward(ours, theirs, lambda _n, data: data)
                back.join(5)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
