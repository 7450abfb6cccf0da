import gc
import importlib.metadata
import inspect
import os
import socket
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import zk.base
from zk import ZK

from drivers.base import DriverError, Hint, ProtocolError, TerminalRefused, TerminalUnavailable
from drivers.zkteco import layouts, wire
from drivers.zkteco import transport as under_pyzk
from drivers.zkteco.terminal import ZktecoTerminal, connect
from drivers.zkteco.transport import (
    ALLOWED,
    ALLOWED_TABLES,
    CLOCK_COMMANDS,
    PYZK_PRIVATE,
    UDP_TRIES,
    Pyzk,
    Transport,
    translated_errors,
)
from drivers.zkteco.wire import Packet
from tests.drivers.zkteco.scripted import (
    HANDSHAKE,
    LATE_S,
    OK,
    SESSION,
    Action,
    Answer,
    Close,
    Dynamic,
    Pause,
    ScriptedPeer,
    Step,
    Trickle,
    announced,
    options,
    prepared,
    requested,
    serve,
    sizes,
    step,
    transfer,
    visited,
)

pytestmark = pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")

NOON = datetime(2026, 9, 4, 12)  # noqa: DTZ001 - a terminal's wall clock has no zone
TIMEOUT_S = 0.1
ANSWERED_S = 2.0
"""A time limit within which a busy machine answers too."""
either_transport = pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])

RECORD = layouts.encode_record("40", pin="1001", uid=1, moment=NOON, state=0, verify=1, index=1)
BODY = RECORD * 100
BUFFER = struct.pack("<I", len(BODY)) + BODY
SERIAL = Answer(wire.CMD_ACK_OK, b"~SerialNumber=ABC123\0")
CLOCK = Answer(wire.CMD_ACK_OK, struct.pack("<I", wire.encode_time(NOON)))
BAD_BEGINNINGS: dict[str, tuple[bytes, type[DriverError]]] = {
    "wrong magic": (b"\x50\x50\x99\x99" + bytes(12), ProtocolError),
    "absurd length": (wire.TCP_MAGIC + b"\xff\xff\xff\xff", ProtocolError),
    "length too short": (wire.TCP_MAGIC + b"\x07\0\0\0" + bytes(7), ProtocolError),
    "web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", ProtocolError),
    "secure firmware": (wire.SECURE_MAGIC + b"\x20\0\0\0" + bytes(32), TerminalRefused),
    "access panel": (bytes.fromhex("AA01C800000000008E55"), TerminalRefused),
}


def whole_conversation(key: Path | None = None) -> list[tuple[str, Step]]:
    """Return the lines of a conversation with each request once, and what each stage is called."""
    data = wire.encode_sizes(records=100, capacity=1000, users=1)
    opening = [("connect", step(wire.CMD_CONNECT, OK))]
    if key:
        opening = [
            ("connect", step(wire.CMD_CONNECT, Answer(wire.CMD_ACK_UNAUTH))),
            ("authentication", step(wire.CMD_AUTH, OK)),
        ]
    return [
        *opening,
        ("enable", step(wire.CMD_ENABLEDEVICE, OK)),
        ("option", step(wire.CMD_OPTIONS_RRQ, SERIAL)),
        ("clock", step(wire.CMD_GET_TIME, CLOCK)),
        ("sizes", step(wire.CMD_GET_FREE_SIZES, Answer(wire.CMD_ACK_OK, data))),
        ("prepare", step(wire.CMD_PREPARE_BUFFER, prepared(len(BUFFER)))),
        ("prefix", step(wire.CMD_READ_BUFFER, serve(BUFFER))),
        ("chunk", step(wire.CMD_READ_BUFFER, serve(BUFFER))),
    ]


STAGES = {
    "connect": (),
    "authentication": (),
    "enable": (),
    "option": (),
    "clock": (),
    "sizes": (),
    "prepare": (),
    "prefix": (),
    "chunk": (),
    "chunk, in the header": (Answer(wire.CMD_PREPARE_DATA, struct.pack("<II", len(BODY), 65528)), b"\x50\x50\x82"),
    "chunk, in the middle": tuple(transfer(BODY)[:2]),
    "chunk, in the middle of a packet": (announced(len(BODY)), wire.TCP_MAGIC + b"\x08\x04\0\0" + bytes(500)),
    "chunk, before the closing ACK": tuple(transfer(BODY)[:-1]),
}
NOT_ON_UDP = {"chunk, in the header", "chunk, in the middle of a packet", "chunk, before the closing ACK"}
STAGES_BY_TRANSPORT = [(stage, udp) for udp in (False, True) for stage in STAGES if not (udp and stage in NOT_ON_UDP)]
every_stage = pytest.mark.parametrize(
    ("stage", "udp"),
    STAGES_BY_TRANSPORT,
    ids=[f"{'udp' if udp else 'tcp'}-{stage}" for stage, udp in STAGES_BY_TRANSPORT],
)


def script_until(stage: str, key: Path, then: tuple[Action, ...]) -> list[Step]:
    """Return the conversation up to ``stage``, which is answered as far as its name states, and then ``then``."""
    name = stage.partition(",")[0]
    script: list[Step] = []
    for known, line in whole_conversation(key):
        if known == name:
            return [*script, step(line.expect, *STAGES[stage], *then)]
        script.append(line)
    raise AssertionError(stage)


def ask_everything(terminal: ZktecoTerminal) -> bytes:
    """Ask everything once; return the log."""
    terminal.serial()
    terminal.read_clock()
    terminal.sizes()
    return b"".join(record.raw for record in terminal.read(layout="40").records)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """Return a file with a communication key."""
    path = tmp_path / "key"
    path.write_text("123456")
    return path


@contextmanager
def failing(
    error: type[DriverError], script: list[Step], *, udp: bool = False, polite: bool = True, **more: Any
) -> Iterator[tuple[ScriptedPeer, list[DriverError]]]:
    """Ask everything of a peer with ``script``, which must end in ``error``; it is put into the list."""
    caught: list[DriverError] = []
    with ScriptedPeer(*script, udp=udp, polite=polite) as peer:
        try:
            with connect(options(peer.port, udp=udp, **more)) as terminal:
                ask_everything(terminal)
        except DriverError as exc:
            caught.append(exc)
        assert [isinstance(exc, error) for exc in caught] == [True], caught
        yield peer, caught


# --- a conversation that goes well --------------------------------------------------------------------------------


@either_transport
def test_the_script_itself_is_sound(udp: bool, key: Path) -> None:
    """The conversation that the failing ones below are made of ends well when nothing fails."""
    script = [line for _, line in whole_conversation(key)]
    with (
        ScriptedPeer(*script, udp=udp) as peer,
        connect(options(peer.port, udp=udp, comm_key_file=key)) as terminal,
    ):
        assert ask_everything(terminal) == BODY


@either_transport
def test_every_question_has_a_number_of_its_own(udp: bool, key: Path) -> None:
    """Questions are counted from 0, and their session is the one the terminal gave."""
    script = [line for _, line in whole_conversation(key)]
    with ScriptedPeer(*script, udp=udp) as peer:
        with connect(options(peer.port, udp=udp, comm_key_file=key)) as terminal:
            ask_everything(terminal)
        peer.settled()
        assert [packet.reply for packet in peer.received] == list(range(len(peer.received)))
        assert [packet.session for packet in peer.received] == [0] + [SESSION] * (len(peer.received) - 1)


def test_the_count_of_questions_wraps() -> None:
    """After 65,535 questions it begins anew, as pyzk's does."""
    with visited(step(wire.CMD_GET_FREE_SIZES, sizes(1)), step(wire.CMD_GET_FREE_SIZES, sizes(2))) as (terminal, peer):
        terminal._transport._reply = 65533
        terminal.sizes()
        assert terminal.sizes().records == 2
        assert [packet.reply for packet in peer.received[-2:]] == [65534, 0]


@pytest.mark.parametrize("limit", [1, 64, 1000, 65528])
def test_a_chunk_may_come_in_packets_of_any_size(limit: int) -> None:
    """However small a terminal's packets are, a chunk is put together."""
    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(100)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(BUFFER))),
        *[step(wire.CMD_READ_BUFFER, serve(BUFFER, limit))] * 2,
    ) as (terminal, _):
        assert b"".join(record.raw for record in terminal.read().records) == BODY


@either_transport
def test_a_chunk_may_come_as_one_packet_without_announcement(udp: bool) -> None:
    """Some terminals answer a small chunk at once."""

    def direct(question: Packet) -> list[Answer]:
        return [Answer(wire.CMD_DATA, requested(BUFFER, question), session=0)]

    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(100)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(BUFFER))),
        *[step(wire.CMD_READ_BUFFER, direct)] * 2,
        udp=udp,
    ) as (terminal, _):
        assert b"".join(record.raw for record in terminal.read().records) == BODY


def test_packets_without_data_do_not_count() -> None:
    """A terminal that sends empty packets in a transfer is read all the same."""
    empty = [Answer(wire.CMD_DATA, session=0)] * 50

    def with_blanks(question: Packet) -> list[Answer]:
        first, *rest = transfer(requested(BUFFER, question))
        return [first, *empty, *rest]

    with visited(
        step(wire.CMD_GET_FREE_SIZES, sizes(100)),
        step(wire.CMD_PREPARE_BUFFER, prepared(len(BUFFER))),
        *[step(wire.CMD_READ_BUFFER, with_blanks)] * 2,
    ) as (terminal, _):
        assert b"".join(record.raw for record in terminal.read().records) == BODY


# --- deadlines ----------------------------------------------------------------------------------------------------


@every_stage
def test_a_terminal_that_falls_silent_is_given_up_in_time(stage: str, udp: bool, key: Path) -> None:
    """At whatever stage: TerminalUnavailable not before the time-out and soon after it, goodbye included."""
    begun = time.monotonic()
    script = script_until(stage, key, ())
    limits = {"timeout_s": TIMEOUT_S, "bulk_timeout_s": TIMEOUT_S}
    with failing(TerminalUnavailable, script, udp=udp, polite=False, comm_key_file=key, **limits):
        assert TIMEOUT_S * 0.99 <= time.monotonic() - begun < TIMEOUT_S + LATE_S


@either_transport
def test_a_long_goodbye_to_a_silent_terminal_is_short(udp: bool) -> None:
    """Events called off, buffer given back, conversation ended: all of it sent, little of it waited for."""
    limits = {"timeout_s": 60.0, "bulk_timeout_s": 1.2}
    script = [*HANDSHAKE, step(wire.CMD_REG_EVENT, OK), step(wire.CMD_GET_FREE_SIZES, sizes(100))]
    silent = [step(wire.CMD_PREPARE_BUFFER, prepared(len(BUFFER))), step(wire.CMD_READ_BUFFER)]
    with ScriptedPeer(*script, *silent, udp=udp, polite=False) as peer:

        def listen_and_read() -> None:
            with connect(options(peer.port, udp=udp, **limits)) as terminal:
                list(terminal.events(0))
                terminal.read()

        begun = time.monotonic()
        with pytest.raises(TerminalUnavailable):
            listen_and_read()
        assert 1.2 <= time.monotonic() - begun < 1.2 + 3 * LATE_S
        assert peer.settled()[-3:] == [wire.CMD_FREE_DATA, wire.CMD_REG_EVENT, wire.CMD_EXIT]


@pytest.mark.parametrize("stage", STAGES)
def test_a_terminal_that_hangs_up_is_given_up_at_once(stage: str, key: Path) -> None:
    """At whatever stage: TerminalUnavailable at once, without busy waiting and without growing."""
    script = script_until(stage, key, (Close(),))
    begun, worked = time.monotonic(), time.process_time()
    with failing(TerminalUnavailable, script, comm_key_file=key, timeout_s=60.0, bulk_timeout_s=60.0):
        assert time.process_time() - worked < LATE_S
        assert time.monotonic() - begun < 60.0 - LATE_S


def test_hanging_up_in_the_middle_of_a_transfer_takes_no_memory() -> None:
    """A peer that closes is not read from for ever."""
    script = script_until("chunk, in the middle", Path(), (Close(),))
    tracemalloc.start()
    try:
        with failing(TerminalUnavailable, [step(wire.CMD_CONNECT, OK), *script[2:]]):
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("pause_s", "limit_s"), [(0.001, 5.0)])
def test_an_answer_byte_by_byte_is_understood_within_its_time(pause_s: float, limit_s: float) -> None:
    """A slow line is no error."""

    def slowly(question: Packet) -> list[Action]:
        return [Trickle(answer, pause_s) for answer in transfer(requested(BUFFER[:204], question))]

    with visited(
        step(wire.CMD_OPTIONS_RRQ, Trickle(SERIAL, pause_s)),
        step(wire.CMD_GET_FREE_SIZES, Trickle(sizes(5), pause_s)),
        step(wire.CMD_PREPARE_BUFFER, Trickle(prepared(204), pause_s)),
        *[step(wire.CMD_READ_BUFFER, slowly)] * 2,
        timeout_s=limit_s,
        bulk_timeout_s=limit_s,
    ) as (terminal, _):
        assert terminal.serial() == "ABC123"
        with pytest.raises(ProtocolError, match="4000 bytes in a buffer of 204"):
            terminal.read()


def test_an_answer_byte_by_byte_is_given_up_at_its_time() -> None:
    """Every byte is a sign of life, but an answer must be there when its time is up."""
    begun = time.monotonic()
    script = [*HANDSHAKE, step(wire.CMD_OPTIONS_RRQ, Trickle(SERIAL, 0.05))]
    with failing(TerminalUnavailable, script, timeout_s=TIMEOUT_S):
        assert TIMEOUT_S <= time.monotonic() - begun < TIMEOUT_S + LATE_S


def test_a_transfer_byte_by_byte_is_given_up_at_its_time() -> None:
    """The same for a chunk: its time is not begun anew with each packet."""
    script = [*HANDSHAKE, *(line for _, line in whole_conversation()[2:-1])]
    slow = step(wire.CMD_READ_BUFFER, *[part for answer in transfer(BODY, 16) for part in (answer, Pause(0.02))])
    begun = time.monotonic()
    with failing(TerminalUnavailable, [*script, slow], bulk_timeout_s=TIMEOUT_S, polite=False):
        assert TIMEOUT_S <= time.monotonic() - begun < TIMEOUT_S + LATE_S


def test_a_flood_of_events_does_not_postpone_the_deadline() -> None:
    """A terminal that sends punches without end and never answers is given up all the same."""
    event = Answer(wire.CMD_REG_EVENT, wire.encode_event(32, pin="1", uid=1, moment=NOON, state=0, verify=1), 1, 0)
    begun = time.monotonic()

    def endlessly(_: Packet) -> Iterator[Action]:
        while True:
            yield from (event, Pause(0.005))

    script = [*HANDSHAKE, step(wire.CMD_OPTIONS_RRQ, endlessly)]
    with failing(TerminalUnavailable, script, timeout_s=TIMEOUT_S):
        assert TIMEOUT_S <= time.monotonic() - begun < TIMEOUT_S + LATE_S


def test_events_of_any_length_take_little_memory() -> None:
    """What a terminal sends without a request, while it owes an answer, is kept as far as it can be a punch."""
    long = Answer(wire.CMD_REG_EVENT, bytes(500_000), wire.EF_ATTLOG, 0)
    tracemalloc.start()
    try:
        with visited(step(wire.CMD_OPTIONS_RRQ, *[long] * 60, SERIAL), step(wire.CMD_REG_EVENT, OK)) as (terminal, _):
            assert terminal.serial() == "ABC123"
            assert list(terminal.events(0)) == [Hint("event of unknown length 1024")] * 60
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("reply", [None, 7], ids=["events", "stale answers"])
def test_a_flood_without_pause_ends_at_its_time(reply: int | None) -> None:
    """A terminal sends as fast as it can what was not requested; neither the request nor the memory is lost."""
    code = wire.CMD_ACK_OK if reply else wire.CMD_REG_EVENT
    flood = Packet(code, 2, reply or 0, b"\x64").to_tcp() * 4000

    def endlessly(_: Packet) -> Iterator[Action]:
        while True:
            yield flood

    tracemalloc.start()
    try:
        begun = time.monotonic()
        script = [*HANDSHAKE, step(wire.CMD_OPTIONS_RRQ, endlessly)]
        with failing(TerminalUnavailable, script, timeout_s=TIMEOUT_S):
            assert time.monotonic() - begun < TIMEOUT_S + 2 * LATE_S
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_small_questions_do_not_wait_as_long_as_bulk_ones() -> None:
    """The two time-outs are two."""
    script = [*HANDSHAKE, *(line for _, line in whole_conversation()[2:5])]
    slow_to_prepare = step(wire.CMD_PREPARE_BUFFER, Pause(ANSWERED_S * 1.25), prepared(len(BUFFER)))
    rest = [line for _, line in whole_conversation()[6:]]
    with (
        ScriptedPeer(*script, slow_to_prepare, *rest) as peer,
        connect(options(peer.port, timeout_s=ANSWERED_S)) as terminal,
    ):
        assert ask_everything(terminal) == BODY


# --- no terminal -------------------------------------------------------------------------------------------------


@contextmanager
def unused_port(kind: socket.SocketKind) -> Iterator[int]:
    """Hold a closed port."""
    with socket.socket(socket.AF_INET, kind) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        if kind == socket.SOCK_DGRAM:
            held.close()
        yield port


@either_transport
def test_a_closed_port_is_unavailable(udp: bool) -> None:
    """Refused connections and refused datagrams are for later."""
    with (
        unused_port(socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as port,
        pytest.raises(TerminalUnavailable, match="refused"),
        connect(options(port, udp=udp)),
    ):
        pytest.fail("the conversation began")


@pytest.mark.parametrize("host", ["nobody.invalid", "a..b", "x" * 64, "xn--" + "y" * 60])
def test_a_name_that_leads_nowhere_is_unavailable(host: str) -> None:
    """Also names that reach no name server."""
    with (
        pytest.raises(TerminalUnavailable, match="cannot be looked up"),
        connect(options(1).model_copy(update={"address": host})),
    ):
        pytest.fail("the conversation began")


def test_a_terminal_that_does_not_take_the_call_is_given_up_in_time() -> None:
    """A full queue in front of the terminal costs the time-out and no more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for caller in waiting:
                caller.setblocking(False)
                caller.connect_ex(("127.0.0.1", port))
            begun = time.monotonic()
            with pytest.raises(TerminalUnavailable, match="within"), connect(options(port, timeout_s=TIMEOUT_S)):
                pytest.fail("the conversation began")
            assert TIMEOUT_S <= time.monotonic() - begun < TIMEOUT_S + LATE_S
        finally:
            for caller in waiting:
                caller.close()


def test_a_machine_out_of_sockets_is_a_driver_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the operating system refuses is not left to the caller in its own words."""

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("socket.socket", refuse)
    with pytest.raises(TerminalUnavailable, match="Too many open files"):
        Transport("127.0.0.1", 1, udp=False, timeout_s=1, bulk_timeout_s=1)


def test_a_line_the_kernel_gave_up_is_not_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keepalive finds a terminal without power: that is a broken connection, not the end of listening."""

    class Dead:
        def settimeout(self, _: float) -> None: ...

        def recv(self, _: int) -> bytes:
            raise TimeoutError(110, "Connection timed out")

    with visited(step(wire.CMD_REG_EVENT, OK)) as (terminal, _):
        list(terminal.events(0))
        alive = terminal._transport._socket
        monkeypatch.setattr(terminal._transport, "_socket", Dead())
        with pytest.raises(TerminalUnavailable, match="Connection timed out"):
            list(terminal.events(5))
        monkeypatch.setattr(terminal._transport, "_socket", alive)


def test_no_socket_is_leaked(key: Path) -> None:
    """After conversations that fail in every way, no descriptor is open that was not open before."""

    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted, not used

    before = descriptors()
    for stage in STAGES:
        with failing(TerminalUnavailable, script_until(stage, key, (Close(),)), comm_key_file=key):
            pass
    for noise, error in BAD_BEGINNINGS.values():
        with failing(error, [step(wire.CMD_CONNECT, noise)]):
            pass
    with unused_port(socket.SOCK_STREAM) as port, pytest.raises(TerminalUnavailable), connect(options(port)):
        pytest.fail("the conversation began")
    assert descriptors() == before


# --- garbage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "error"), BAD_BEGINNINGS.values(), ids=BAD_BEGINNINGS)
def test_a_peer_of_another_protocol_is_recognised(noise: bytes, error: type[DriverError]) -> None:
    """Garbage is a protocol error; secure firmware and access panels are for a person. Both keep what came."""
    with failing(error, [step(wire.CMD_CONNECT, noise)]) as (_, (exc,)):
        assert exc.capture is not None
        if error is ProtocolError:
            assert noise.hex(" ") in exc.capture


@pytest.mark.parametrize(("noise", "error"), BAD_BEGINNINGS.values(), ids=BAD_BEGINNINGS)
def test_garbage_in_the_middle_of_a_transfer_ends_it(noise: bytes, error: type[DriverError], key: Path) -> None:
    """A stream that was good until now is judged in the same way."""
    script = script_until("chunk, in the middle", key, (noise,))
    with failing(error, script, comm_key_file=key) as (_, (exc,)):
        assert exc.capture


def test_a_visit_after_garbage_starts_clean() -> None:
    """Nothing of a conversation that went wrong is left for the next one."""
    with ScriptedPeer(step(wire.CMD_CONNECT, b"garbage!"), *HANDSHAKE, step(wire.CMD_GET_FREE_SIZES, sizes(7))) as peer:
        with pytest.raises(ProtocolError), connect(options(peer.port)):
            pytest.fail("the conversation began")
        with connect(options(peer.port)) as terminal:
            assert terminal.sizes().records == 7


@pytest.mark.parametrize("code", [2032, 6001])
def test_secure_firmware_refuses(code: int) -> None:
    """A terminal that wants encryption is reported in plain words."""
    with failing(TerminalRefused, [step(wire.CMD_CONNECT, Answer(code))]) as (_, (exc,)):
        assert "encrypted" in str(exc)


@pytest.mark.parametrize("code", [wire.CMD_ACK_ERROR, wire.CMD_UNKNOWN, 4242])
def test_another_answer_to_connect_is_named_by_its_number(code: int) -> None:
    """An unknown code is shown with its number."""
    with failing(ProtocolError, [step(wire.CMD_CONNECT, Answer(code))]) as (_, (exc,)):
        assert str(code) in str(exc)
        assert exc.capture


def bulk(*answers: Action | Dynamic) -> list[Step]:
    """Return a script in which ``answers`` come for the log's one chunk, and for all of the log at once."""
    return [*(line for _, line in whole_conversation()[:-1]), *[step(wire.CMD_READ_BUFFER, *answers)] * 2]


def preparing(*answers: Action | Dynamic) -> list[Step]:
    """Return a script in which the log is prepared with ``answers``."""
    return [*(line for _, line in whole_conversation()[:-3]), step(wire.CMD_PREPARE_BUFFER, *answers)]


def unprepared(*answers: Action | Dynamic) -> list[Step]:
    """Return a script in which the log cannot be prepared, and is answered with ``answers`` without a buffer."""
    return [*preparing(Answer(wire.CMD_UNKNOWN)), step(wire.CMD_ATTLOG_RRQ, *answers)]


def prefixed(size: int, prefix: int) -> list[Step]:
    """Return a script in which a log of ``size`` bytes states that it has ``prefix`` bytes."""
    return [*preparing(prepared(size)), step(wire.CMD_READ_BUFFER, *transfer(struct.pack("<I", prefix)))]


BROKEN = {
    "more announced than asked": bulk(*transfer(BODY + b"x")),
    "4 GiB announced": bulk(announced(0xFFFFFFFF)),
    "announcement without size": bulk(Answer(wire.CMD_PREPARE_DATA, b"\x01\x02")),
    "nothing announced": bulk(announced(0), OK),
    "less announced than asked": bulk(*transfer(BODY[:-1])),
    "more sent than announced": bulk(*transfer(BODY)[:-1], Answer(wire.CMD_DATA, b"x", session=9), OK),
    "ended early": bulk(*transfer(BODY)[:-2], OK),
    "error in the middle": bulk(*transfer(BODY)[:2], Answer(wire.CMD_ACK_ERROR)),
    "unknown code in the middle": bulk(*transfer(BODY)[:2], Answer(4242)),
    "one packet too short": bulk(Answer(wire.CMD_DATA, BODY[:-1])),
    "one packet too long": bulk(Answer(wire.CMD_DATA, BODY + b"x")),
    "table too large": preparing(prepared(wire.MAX_TABLE + 1)),
    "prepared without a size": preparing(Answer(wire.CMD_ACK_OK, b"\0\x01")),
    "prefix larger than the table": prefixed(4004, 4001),
    "prefix of 4 GiB": prefixed(4004, 0xFFFFFFFF),
    "prepare refused": unprepared(Answer(wire.CMD_ACK_ERROR)),
    "prepare unknown": unprepared(Answer(wire.CMD_UNKNOWN)),
    "no log without a buffer": unprepared(OK),
    "a log of 4 MiB without a buffer": unprepared(announced(wire.MAX_PACKET + 1)),
    "a burst of 4 GiB": unprepared(Answer(wire.CMD_DATA, b"\xff" * 8)),
    "clock refused": [*HANDSHAKE, step(wire.CMD_OPTIONS_RRQ, SERIAL), step(wire.CMD_GET_TIME, Answer(2001))],
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_what_the_protocol_does_not_allow_is_a_protocol_error(script: list[Step]) -> None:
    """Announcements, lengths and codes that cannot be right end the visit with the last error."""
    with failing(ProtocolError, script) as (_, (exc,)):
        assert exc.capture is not None
        assert exc.capture.count("\n") >= 3


def test_a_terminal_in_access_control_mode_refuses() -> None:
    """4989 is described in plain words."""
    with failing(TerminalRefused, preparing(Answer(4989))) as (_, (exc,)):
        assert "access-control mode" in str(exc)


@pytest.mark.parametrize("stage", ["option", "clock", "sizes", "prepare", "chunk"])
def test_a_terminal_that_has_forgotten_the_conversation_is_unavailable(stage: str) -> None:
    """A terminal that restarted in between answers "not authorised": begin anew, without an action of a person."""
    script: list[Step] = []
    for name, line in whole_conversation():
        if name == stage:
            script.append(step(line.expect, Answer(wire.CMD_ACK_UNAUTH)))
            break
        script.append(line)
    with failing(TerminalUnavailable, script) as (_, (exc,)):
        assert "no longer knows" in str(exc)


def test_an_answer_of_text_that_is_none_is_survived() -> None:
    """A firmware version in another character set costs the firmware version only."""
    with visited(step(wire.CMD_GET_VERSION, Answer(wire.CMD_ACK_OK, b"\xb0\xe6\xb1\xbe 6.60\0"))) as (terminal, _):
        assert terminal._option(terminal._pyzk.get_firmware_version) is None


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_datagram_too_short_is_a_protocol_error(size: int) -> None:
    """What is shorter than a header is nothing this protocol knows."""
    with failing(ProtocolError, [step(wire.CMD_CONNECT, bytes(size))], udp=True) as (_, (exc,)):
        assert exc.capture


# --- captures keep secrets ----------------------------------------------------------------------------------------

SECRET = b"Rahasia!"
USERS = b"".join(struct.pack("<HB8s24s13x24s", uid, 0, SECRET, SECRET, str(uid).encode()) for uid in range(1, 40))
TABLE = struct.pack("<I", len(USERS)) + USERS
USER_FAILURES: dict[str, tuple[Action | Dynamic, ...]] = {
    "garbage behind data": (*transfer(USERS)[:2], SECRET * 20),
    "garbage in place of data": (SECRET * 20,),
    "error behind data": (*transfer(USERS)[:2], Answer(wire.CMD_ACK_ERROR)),
    "ended early": (*transfer(USERS)[:2], OK),
    "one packet too long": (Answer(wire.CMD_DATA, USERS + SECRET),),
    "no layout": (*transfer(b"\xff" * 8 + SECRET * (len(USERS) // 8 - 1)),),
}


def secrets_in(capture: str | None) -> bool:
    """Return whether a capture shows anything of the user table."""
    assert capture is not None
    return SECRET.hex() in capture.replace(" ", "")


@pytest.mark.parametrize("answers", USER_FAILURES.values(), ids=USER_FAILURES)
def test_no_capture_shows_the_user_table(answers: tuple[Action | Dynamic, ...]) -> None:
    """Names and passwords stay out of captures, however the reading fails."""
    with (
        pytest.raises(ProtocolError) as caught,
        visited(
            step(wire.CMD_PREPARE_BUFFER, prepared(len(TABLE))),
            step(wire.CMD_READ_BUFFER, serve(TABLE)),
            *[step(wire.CMD_READ_BUFFER, *answers)] * 2,
        ) as (terminal, _),
    ):
        terminal.pins()
    assert not secrets_in(caught.value.capture)


def test_no_later_capture_shows_a_late_part_of_the_user_table() -> None:
    """A datagram of the user table that comes twice, the second time too late, stays out of captures as well."""
    late = Answer(wire.CMD_DATA, USERS[:1024], session=0, reply=4)
    with visited(
        step(wire.CMD_PREPARE_BUFFER, prepared(len(TABLE))),
        *[step(wire.CMD_READ_BUFFER, serve(TABLE))] * 2,
        step(wire.CMD_GET_TIME, late, Answer(4242)),
        udp=True,
    ) as (terminal, _):
        assert len(terminal.pins()) == 39
        with pytest.raises(ProtocolError) as caught:
            terminal.read_clock()
    assert not secrets_in(caught.value.capture)
    assert "1024 bytes left out" in str(caught.value.capture)


def test_no_capture_shows_what_proves_the_key(key: Path) -> None:
    """The key could be computed from its proof: that stays out."""
    script = [
        step(wire.CMD_CONNECT, Answer(wire.CMD_ACK_UNAUTH)),
        step(wire.CMD_AUTH, OK),
        step(wire.CMD_ENABLEDEVICE, b"garbage!"),
    ]
    with failing(ProtocolError, script, comm_key_file=key) as (peer, (exc,)):
        proof = next(packet.data for packet in peer.received if packet.command == wire.CMD_AUTH)
        assert proof == wire.scramble_comm_key(123456, SESSION)
        assert exc.capture is not None
        assert proof.hex() not in exc.capture.replace(" ", "")
        assert "4 bytes left out" in exc.capture


def test_a_capture_is_short() -> None:
    """A long log leaves a few lines, not megabytes."""
    with failing(ProtocolError, bulk(*transfer(BODY, 40)[:-2], OK)) as (_, (exc,)):
        assert exc.capture is not None
        assert len(exc.capture) < 10_000


# --- answers and questions ----------------------------------------------------------------------------------------


@either_transport
def test_a_late_answer_is_not_taken_for_the_next(udp: bool) -> None:
    """What answers an earlier question is dropped."""
    late = Answer(wire.CMD_ACK_OK, b"~SerialNumber=LATE\0", reply=1)
    with visited(step(wire.CMD_OPTIONS_RRQ, late, SERIAL), udp=udp) as (terminal, _):
        assert terminal.serial() == "ABC123"
        assert terminal._transport.stale_replies == 1


@either_transport
def test_the_answer_to_a_question_that_was_given_up_is_dropped(udp: bool) -> None:
    """After a time-out the next question has another number, so that the late answer answers nothing."""
    with visited(
        step(wire.CMD_GET_FREE_SIZES, Pause(ANSWERED_S * 1.25), sizes(111)),
        step(wire.CMD_GET_TIME, CLOCK),
        udp=udp,
        timeout_s=ANSWERED_S,
    ) as (terminal, _):
        with pytest.raises(TerminalUnavailable):
            terminal.sizes()
        reading = terminal.read_clock()
        assert reading is not None
        assert reading.local_time == NOON


@either_transport
def test_a_wrong_checksum_is_counted_and_accepted(udp: bool) -> None:
    """Terminals that get checksums wrong exist, and work otherwise."""

    def spoilt(question: Packet) -> list[bytes]:
        packet = Packet(wire.CMD_ACK_OK, SESSION, question.reply, SERIAL.data)
        raw = bytearray(packet.to_bytes() if udp else packet.to_tcp())
        raw[-6 - len(SERIAL.data)] ^= 0xFF
        return [bytes(raw)]

    with visited(step(wire.CMD_OPTIONS_RRQ, spoilt), udp=udp) as (terminal, _):
        assert terminal.serial() == "ABC123"
        assert terminal._transport.bad_checksums == 1


# --- datagrams ----------------------------------------------------------------------------------------------------


def shuffled(*order: int) -> Dynamic:
    """Answer READ_BUFFER with the packets of the transfer in another order; some twice, some not at all."""

    def answer(question: Packet) -> list[Answer]:
        packets = transfer(requested(BUFFER, question))
        return [packets[at] for at in order] if len(packets) > 3 else packets

    return answer


# A chunk of 4,000 bytes is PREPARE, four DATA and the closing ACK: 0 to 5.
DISORDERS = {
    "reversed": (5, 4, 3, 2, 1, 0),
    "data before the announcement": (1, 2, 0, 3, 4, 5),
    "announcement last": (1, 2, 3, 4, 5, 0),
    "end before the data": (0, 5, 1, 2, 3, 4),
    "all twice": (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5),
    "one twice, much later": (0, 1, 2, 3, 4, 1, 5),
    "swapped": (0, 2, 1, 4, 3, 5),
}


@pytest.mark.parametrize("order", DISORDERS.values(), ids=DISORDERS)
def test_datagrams_in_any_order_and_number_are_put_right(order: tuple[int, ...]) -> None:
    """The network may reorder and repeat; the log is what it was."""
    script = [*(line for _, line in whole_conversation()[:-1]), step(wire.CMD_READ_BUFFER, shuffled(*order))]
    with ScriptedPeer(*script, udp=True) as peer, connect(options(peer.port, udp=True)) as terminal:
        assert ask_everything(terminal) == BODY
        assert peer.commands.count(wire.CMD_READ_BUFFER) == 2


@pytest.mark.parametrize("base", [65534, 123])
def test_datagram_indexes_may_wrap_and_begin_anywhere(base: int) -> None:
    """Indexes are counted over the whole buffer and wrap at 65,536."""

    def answer(question: Packet) -> list[Answer]:
        packets = transfer(requested(BUFFER, question))
        return [
            packet._replace(session=(packet.session + base) & 0xFFFF) if packet.command == wire.CMD_DATA else packet
            for packet in (packets[0], *reversed(packets[1:-1]), packets[-1])
        ]

    script = [*(line for _, line in whole_conversation()[:-2]), *[step(wire.CMD_READ_BUFFER, answer)] * 2]
    with ScriptedPeer(*script, udp=True) as peer, connect(options(peer.port, udp=True)) as terminal:
        assert ask_everything(terminal) == BODY


def test_only_the_closing_datagram_lost_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every byte has come, its end need not be confirmed."""
    monkeypatch.setattr(under_pyzk, "DATAGRAM_GAP_S", 0.1)
    script = [*(line for _, line in whole_conversation()[:-1]), step(wire.CMD_READ_BUFFER, shuffled(0, 1, 2, 3, 4))]
    with ScriptedPeer(*script, udp=True) as peer, connect(options(peer.port, udp=True)) as terminal:
        assert ask_everything(terminal) == BODY


LOSSES = {"announcement and all": (), "announcement": (1, 2, 3, 4, 5), "the middle": (0, 1, 3, 4, 5), "the end": (0, 1)}


@pytest.mark.parametrize("order", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("lost", [1, 2])
def test_a_chunk_with_a_lost_datagram_is_requested_again(
    order: tuple[int, ...], lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss costs a repetition of its chunk, twice at most."""
    monkeypatch.setattr(under_pyzk, "DATAGRAM_GAP_S", 0.05)
    tries = [*[shuffled(*order)] * lost, serve(BUFFER)]
    if order == LOSSES["announcement"]:
        tries = [serve(BUFFER)]  # nothing is lost with it: the request is known
    script = [
        *(line for _, line in whole_conversation()[:-1]),
        *(step(wire.CMD_READ_BUFFER, answer) for answer in tries),
    ]
    with (
        ScriptedPeer(*script, udp=True) as peer,
        connect(options(peer.port, udp=True, bulk_timeout_s=ANSWERED_S)) as terminal,
    ):
        assert ask_everything(terminal) == BODY


def test_a_chunk_that_is_lost_three_times_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the terminal is out of reach for now."""
    monkeypatch.setattr(under_pyzk, "DATAGRAM_GAP_S", 0.05)
    script = [
        *(line for _, line in whole_conversation()[:-1]),
        *[step(wire.CMD_READ_BUFFER, shuffled(0, 1, 3, 4, 5))] * UDP_TRIES,
    ]
    with failing(TerminalUnavailable, script, udp=True) as (peer, (exc,)):
        assert "lost" in str(exc)
        assert peer.commands.count(wire.CMD_READ_BUFFER) == 1 + UDP_TRIES


def test_what_comes_late_of_a_first_try_is_not_mixed_into_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams of a try that was given up carry its number and are dropped."""
    monkeypatch.setattr(under_pyzk, "DATAGRAM_GAP_S", 0.05)

    def with_leftovers(question: Packet) -> list[Answer]:
        wrong = [
            packet._replace(reply=question.reply - 1, data=packet.data[::-1])
            for packet in transfer(requested(BUFFER, question))[1:]
        ]
        return [*wrong, *transfer(requested(BUFFER, question))]

    script = [
        *(line for _, line in whole_conversation()[:-1]),
        step(wire.CMD_READ_BUFFER, shuffled(0, 1)),
        step(wire.CMD_READ_BUFFER, with_leftovers),
    ]
    with ScriptedPeer(*script, udp=True) as peer, connect(options(peer.port, udp=True)) as terminal:
        assert ask_everything(terminal) == BODY
        assert terminal._transport.stale_replies == 5


def test_on_a_stream_a_broken_transfer_is_not_requested_again() -> None:
    """TCP loses nothing: what is missing there was not sent."""
    script = script_until("chunk, in the middle", Path(), ())
    with failing(TerminalUnavailable, [step(wire.CMD_CONNECT, OK), *script[2:]], bulk_timeout_s=TIMEOUT_S) as (peer, _):
        assert peer.commands.count(wire.CMD_READ_BUFFER) == 2


# --- what may be sent ---------------------------------------------------------------------------------------------


@contextmanager
def bare_transport(*, udp: bool) -> Iterator[tuple[Transport, ScriptedPeer]]:
    """Connect to a peer without saying anything."""
    with ScriptedPeer(*HANDSHAKE, udp=udp) as peer:
        transport = Transport("127.0.0.1", peer.port, udp=udp, timeout_s=1, bulk_timeout_s=1)
        try:
            yield transport, peer
        finally:
            transport.close()


def say(transport: Transport, packet: Packet, *, udp: bool) -> None:
    """Send a packet as pyzk would."""
    if udp:
        transport.sendto(packet.to_bytes(), None)
    else:
        transport.send(packet.to_tcp())


def nothing_reached(transport: Transport, peer: ScriptedPeer, *, udp: bool) -> bool:
    """Send something harmless; return whether it was the first that the peer received."""
    say(transport, Packet(wire.CMD_CONNECT, 0, 0), udp=udp)
    transport.recv(1024)
    return peer.commands == [wire.CMD_CONNECT]


@either_transport
def test_no_command_outside_the_allow_list_leaves(udp: bool) -> None:
    """All other 65,000 are a RuntimeError, and nothing of them reaches the terminal."""
    with bare_transport(udp=udp) as (transport, peer):
        for command in range(0x10000):
            if command not in ALLOWED:
                with pytest.raises(RuntimeError, match="allow-list"):
                    say(transport, Packet(command, 0, 0), udp=udp)
        assert nothing_reached(transport, peer, udp=udp)


@either_transport
def test_no_table_but_log_and_users_can_be_prepared(udp: bool) -> None:
    """Templates, the log of operations and photos are a RuntimeError, and nothing of them reaches the terminal."""
    with bare_transport(udp=udp) as (transport, peer):
        requests = [
            *(
                struct.pack("<BHII", 1, table, 0, 0)
                for table in (7, 34, 10010, *range(100))
                if table not in ALLOWED_TABLES
            ),
            # Whatever is not one table and its two arguments may mean something else to a terminal.
            *(struct.pack("<BH", 1, table) for table in ALLOWED_TABLES),
            *(struct.pack("<BHIIB", 1, table, 0, 0, 0) for table in ALLOWED_TABLES),
            *(struct.pack("<BHII", 0, table, 0, 0) for table in ALLOWED_TABLES),
        ]
        for request in requests:
            with pytest.raises(RuntimeError, match="the log and the user list only"):
                say(transport, Packet(wire.CMD_PREPARE_BUFFER, 0, 0, request), udp=udp)
        assert nothing_reached(transport, peer, udp=udp)


@either_transport
@pytest.mark.parametrize("data", [b"", b"\5\0", b"\5\0\0", b"\1\0\6", bytes(4), b"\1", b"\2"], ids=bytes.hex)
def test_users_are_read_without_a_buffer_and_templates_are_not(udp: bool, data: bytes) -> None:
    """With a user number and a finger the same command requests a template: a RuntimeError, and nothing is sent."""
    with bare_transport(udp=udp) as (transport, peer):
        with pytest.raises(RuntimeError, match="no templates"):
            say(transport, Packet(wire.CMD_USERTEMP_RRQ, 0, 0, data), udp=udp)
        assert nothing_reached(transport, peer, udp=udp)


def test_the_allow_list_has_nothing_that_writes() -> None:
    """The list itself, against the numbers of everything that changes, locks or wipes a terminal."""
    harmful = {8, 10, 12, 14, 15, 18, 19, 20, 31, 33, 60, 61, 62, 66, 67, 69, 76, 79, 87, 110, 134, 202}
    harmful |= {1003, 1004, 1005, 1013, 1014, 1017, 1101}
    assert not ALLOWED & harmful
    assert {9, 13, 10004} == ALLOWED_TABLES
    assert {202, 1013} == CLOCK_COMMANDS


HARM: dict[str, Callable[[Any], object]] = {
    "disable": lambda pyzk: pyzk.disable_device(),
    "clear": lambda pyzk: pyzk._ZK__send_command(14),
    "clear the log": lambda pyzk: pyzk.clear_attendance(),
    "restart": lambda pyzk: pyzk.restart(),
    "power off": lambda pyzk: pyzk.poweroff(),
    "unlock": lambda pyzk: pyzk.unlock(),
    "set the clock": lambda pyzk: pyzk.set_time(NOON),
    "refresh": lambda pyzk: pyzk.refresh_data(),
    "speak": lambda pyzk: pyzk.test_voice(),
    "read a template": lambda pyzk: pyzk.get_user_template(1),
    "read templates": lambda pyzk: pyzk.read_with_buffer(7, 2),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_pyzk_cannot_be_made_to_harm_a_terminal(harm: Callable[[Any], object]) -> None:
    """Every road of pyzk's own ends at the allow-list, as a mistake of ours and not as an error of the terminal's."""
    with visited() as (terminal, peer):
        with pytest.raises(RuntimeError) as caught, translated_errors(terminal._transport):
            harm(terminal._pyzk)
        assert not isinstance(caught.value, DriverError)
    assert peer.settled() == [wire.CMD_CONNECT, wire.CMD_ENABLEDEVICE, wire.CMD_EXIT]


def test_pyzk_messages_about_unreadable_bytes_are_not_repeated() -> None:
    """Its text may be a PIN or a name; it would stand in the log, the state and the alarm."""
    with visited() as (terminal, _):
        for exc in (ValueError("invalid literal: '48151623'"), IndexError("Budi"), struct.error("Budi")):
            with pytest.raises(ProtocolError) as caught, translated_errors(terminal._transport):
                raise exc
            assert str(caught.value) == f"the answer could not be understood ({type(exc).__name__})"


# --- the seam under pyzk ------------------------------------------------------------------------------------------


def test_pyzk_is_the_version_whose_private_names_are_used() -> None:
    """Another version needs another look."""
    assert importlib.metadata.version("pyzk") == "0.9"


@pytest.mark.parametrize("name", PYZK_PRIVATE)
def test_pyzk_has_the_private_name(name: str) -> None:
    """Every private name relied on is in pyzk's code, as a method or as an attribute."""
    attribute = "self." + name.removeprefix("_ZK")
    assert hasattr(ZK, name) or f"{attribute} = " in inspect.getsource(ZK)


def test_no_other_private_name_of_pyzk_is_used() -> None:
    """The list is complete."""
    source = inspect.getsource(under_pyzk)
    words = {word for word in source.replace('"', " ").replace(".", " ").replace("(", " ").split() if "_ZK__" in word}
    assert {word.strip(":,[)") for word in words} == set(PYZK_PRIVATE)


def test_pyzk_proves_the_key_with_our_arithmetic() -> None:
    """Its own overflows for some keys."""
    assert zk.base.make_commkey is wire.scramble_comm_key


def test_pyzk_is_given_our_socket_and_no_helper_of_its_own() -> None:
    """No ping, no second connection, no socket beside ours."""
    with visited() as (terminal, peer):
        pyzk: Any = terminal._pyzk
        assert isinstance(pyzk, Pyzk)
        assert pyzk._ZK__sock is terminal._transport
        assert not isinstance(pyzk.helper, zk.base.ZK_helper)
        assert peer.accepted == 1


def test_pyzk_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever a terminal sends, nothing is written to standard output."""
    for script in BROKEN.values():
        with failing(ProtocolError, script):
            pass
    assert capfd.readouterr().out == ""
