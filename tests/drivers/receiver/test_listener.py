"""The receiver over real sockets: what terminals send, what they must get, and what no caller takes from others."""

import os
import random
import resource
import socket
import ssl
import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from drivers.receiver.http import Reply
from drivers.receiver.listener import Config, Limits, Receiver
from drivers.receiver.registry import Collected, Exchange, Expected, Registry, Serial, UrlPath
from tests.authority import Authority
from tests.drivers.receiver.caller import SN, Opened, get, opened, post, to_end, until

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK"
LINES = b"0042\t2026-11-30 07:01:02\t0\t1\n"


def status_of(reply: bytes) -> int:
    """Return the status code of a reply; 0 where there is none."""
    return int(reply.split(b" ", 2)[1]) if reply else 0


def body_of(reply: bytes) -> bytes:
    """Return the body of a reply."""
    return reply.partition(b"\r\n\r\n")[2]


@pytest.fixture(scope="module")
def office() -> object:
    """Yield one receiver for the tests that leave it as it is."""
    with opened() as running:
        yield running


@pytest.mark.parametrize(
    "request_",
    [
        get(version="1.0"),
        b"GET /iclock/getrequest?SN=" + SN.encode() + b" HTTP/1.0\r\n\r\n",
        b"GET /iclock/getrequest.aspx?sn=" + SN.encode() + b" HTTP/1.1\n\n",
        b"GET //iclock//getrequest?SN=" + SN.encode() + b" HTTP/1.1\r\n\r\n",
        b"GET http://10.1.2.3:81/iclock/getrequest?SN=" + SN.encode() + b" HTTP/1.1\r\nProxy-Connection: x\r\n\r\n",
        b"GET /iclock/getrequest?SN=" + SN.encode() + b"&INFO=Ver 6.60 Apr 28 2017,12,\xff,10 HTTP/1.1\r\n\r\n",
        get() + get(),
        get().replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\nKeep-Alive: 100\r\n\r\n"),
        get().replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\nCookie: a=b\r\n\r\n"),
    ],
)
def test_what_terminals_send_gets_the_same_short_reply(office: Opened, request_: bytes) -> None:
    """Old and new firmware, menus with a proxy, clients that keep connections: one reply, then the end."""
    assert office.exchange(request_) == OK
    assert office.exchange(*(bytes((byte,)) for byte in request_[:300]), request_[300:]) == OK


def test_records_are_acknowledged_after_they_were_stored(office: Opened) -> None:
    """However the upload is cut."""
    office.office.stored.clear()

    assert body_of(office.exchange(post(LINES * 3))) == b"OK: 3"
    assert body_of(office.exchange(post(LINES)[:90], post(LINES)[90:-5], post(LINES)[-5:])) == b"OK: 1"
    assert office.office.stored == [LINES * 3, LINES]


def test_chunks_arrive_as_one_body(office: Opened) -> None:
    """Some firmware sends chunks."""
    office.office.stored.clear()
    head = f"POST /iclock/cdata?SN={SN}&table=ATTLOG HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()

    reply = office.exchange(head, b"1d\r\n" + LINES + b"\r\n", b"1D\r\n" + LINES[:4], LINES[4:] + b"\r\n0\r\n\r\n")

    assert body_of(reply) == b"OK: 2"
    assert office.office.stored == [LINES * 2]


def test_a_client_that_expects_an_interim_reply_gets_it_before_it_sends(office: Opened) -> None:
    """Without it libcurl waits a second each time."""
    with office.dial() as sock:
        sock.sendall(post(b"", "ATTPHOTO", length=200_000, more="Expect: 100-continue\r\n"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"\n" * 200_000)
        assert body_of(to_end(sock)) == b"OK: 200000"


def test_a_client_that_would_be_refused_need_not_send(office: Opened) -> None:
    """The final reply takes the place of the interim one."""
    with office.dial() as sock:
        sock.sendall(post(b"", serial="SYN0000000002", length=200_000, more="Expect: 100-continue\r\n"))
        assert status_of(to_end(sock)) == 503


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x00\xa5\x01", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 9 * 1024, 431),
        (f"POST /iclock/cdata?SN={SN}&table=ATTLOG HTTP/1.0\r\n\r\n".encode() + LINES, 411),
        (get(query=f"SN={SN}%00"), 400),
        (get(query="SN=" + "1" * 33), 400),
        (get(query="SN=\xd6\xd0"), 400),
        (get(query="SN="), 400),
        (get(query=""), 404),
        (b"GET /iclock/../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (get("exchange", f"SN={SN}&type=publickey"), 404),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\0\r\n\r\n", 400),
        (b"GET" + b" " * 8000 + b"x\r\n\r\n", 400),  # minutes of a regular expression
        (b"GET / HTTP/1.1\r\nA: x" + b" " * 8000 + b"x\r\n\r\n", 404),
        (b"GET  HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_served_gets_an_answer_without_ok_in_it(office: Opened, request_: bytes, status: int) -> None:
    """A body that holds OK by chance lets a terminal forget its records."""
    reply = office.exchange(request_)

    assert status_of(reply) == status
    assert b"OK" not in reply


def test_a_cut_upload_is_neither_stored_nor_acknowledged(office: Opened) -> None:
    """The terminal sends it again, whole."""
    office.office.stored.clear()
    with office.dial() as sock:
        sock.sendall(post(LINES * 70, length=4000))
        sock.shutdown(socket.SHUT_WR)
        assert to_end(sock) == b""
    with office.dial() as sock:
        sock.sendall(post(LINES * 70, length=4000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets the connection
    until(lambda: office.receiver.status().connections == 0)

    assert office.office.stored == []
    assert body_of(office.exchange(post(LINES * 140))) == b"OK: 140"


def test_a_client_that_ends_its_stream_still_reads_the_reply(office: Opened) -> None:
    """It has sent all that it will send."""
    with office.dial() as sock:
        sock.sendall(post(LINES))
        sock.shutdown(socket.SHUT_WR)
        assert body_of(to_end(sock)) == b"OK: 1"


def test_a_head_request_gets_no_body(office: Opened) -> None:
    """Its length is stated all the same."""
    assert body_of(office.exchange(get().replace(b"GET", b"HEAD"))) == b""


def test_strangers_are_held_listed_and_accepted_after_they_were_configured() -> None:
    """No power cycle is needed: they were never answered OK."""
    with opened() as running:
        stranger = "SYN0000000009"
        for request in (get(query=f"SN={stranger}"), get("cdata", f"SN={stranger}&DeviceType=acc&pushver=3.1.2")):
            assert body_of(running.exchange(request)) == b"UNKNOWN DEVICE\n"
        assert status_of(running.exchange(post(LINES, serial=stranger))) == 503
        (caller,) = running.registry.callers()
        assert (caller.key, caller.name, caller.address) == (Serial(stranger), None, "127.0.0.1")
        assert caller.requests == {"getrequest": 1, "cdata": 1, "POST cdata": 1}
        assert (caller.device_type, caller.push_version, caller.host) == ("acc", "3.1.2", "127.0.0.1:8088")
        assert caller.last_post is not None

        running.registry.expect({Serial(SN): Expected("lobby"), Serial(stranger): Expected("gudang")})
        assert running.registry.callers() == []
        assert status_of(running.exchange(get(query=f"SN={stranger}"))) == 503
        with running.registry.register(Serial(stranger), running.office):
            assert running.exchange(get(query=f"SN={stranger}")) == OK


def test_strangers_can_be_refused() -> None:
    """By configuration."""
    with opened(strangers="refuse") as running:
        assert running.exchange(get(query="SN=SYN0000000009")).startswith(b"HTTP/1.1 401 Unauthorized\r\n")


def test_a_hundred_strangers_are_remembered() -> None:
    """Of more the longest silent are forgotten; configured terminals are not."""
    with opened() as running:
        for number in range(120):
            running.exchange(get(query=f"SN=STRANGE{number}"))
        running.exchange(get())

        names = [caller.key.value for caller in running.registry.callers()]
        assert names == [*(f"STRANGE{number}" for number in range(20, 120)), SN]


def test_a_known_terminal_whose_worker_does_not_run_repeats_later() -> None:
    """During a reload, a restart or a pause nothing is lost."""
    with opened(served=False) as running:
        for request in (get(), post(LINES), get("cdata", f"SN={SN}&options=all")):
            reply = running.exchange(request)
            assert (status_of(reply), body_of(reply)) == (503, b"")
        (caller,) = running.registry.callers()
        assert caller.refused == {"not_served": 3}


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("192.168.1.0/24", 503), ("::1/128", 503)])
def test_a_terminal_can_be_bound_to_a_network(network: str, status: int) -> None:
    """A serial number is easily copied."""
    with opened(expected=Expected("lobby", (ip_network(network),))) as running:
        assert status_of(running.exchange(get())) == status


def test_a_source_has_a_path_of_its_own() -> None:
    """Apps state no serial number."""
    with opened() as running, running.registry.register(UrlPath("/hook/presensi"), running.office):
        assert (
            body_of(running.exchange(b"POST //hook/presensi/?x=1 HTTP/1.1\r\nContent-Length: 1\r\n\r\n\n")) == b"OK: 1"
        )
        assert status_of(running.exchange(b"POST /hook/other HTTP/1.1\r\nContent-Length: 1\r\n\r\n\n")) == 404


def test_one_key_has_one_handler() -> None:
    """A second one would take the punches of the first."""
    with (
        opened() as running,
        pytest.raises(ValueError, match=SN),
        running.registry.register(Serial(SN), running.office),
    ):
        pass


def test_a_reply_that_comes_too_late_is_503_and_the_driver_knows() -> None:
    """The terminal would give up later, and without an answer."""
    with opened(Limits(hold_s=0.05)) as running:
        running.office.settle = False

        reply = running.exchange(post(LINES))

        assert (status_of(reply), body_of(reply)) == (503, b"")
        assert not running.office.waiting[0].reply(Reply(200, b"OK: 1"))
        assert running.receiver.status().held_too_long == 1


def test_a_reply_to_a_terminal_that_hung_up_is_not_delivered() -> None:
    """Its records come again."""
    with opened() as running:
        running.office.settle = False
        with running.dial() as sock:
            sock.sendall(post(LINES))
            until(lambda: running.office.waiting)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        until(lambda: running.receiver.status().connections == 0)

        assert not running.office.waiting[0].reply(Reply(200, b"OK: 1"))


def test_an_error_of_a_handler_costs_its_request_only() -> None:
    """It is counted, and reported with its place."""
    with opened() as running:
        running.office.error = RuntimeError
        reply = running.exchange(post(LINES))
        running.office.error = None

        assert (status_of(reply), body_of(reply)) == (503, b"")
        assert running.exchange(get()) == OK
        assert running.receiver.status().failures == 1
        event, fields = running.reports[-1]
        assert (event, fields["serial"], fields["resource"]) == ("request_failed", SN, "cdata")
        assert isinstance(fields["error"], RuntimeError)


BAD = Reply(200, b"OK", {"bad": "\n"})


class _FailingBody(Collected):
    """Fails with the first piece."""

    def feed(self, piece: bytes) -> None:
        raise ValueError(piece)


@pytest.mark.parametrize("where", ["feed", "end", "reply"])
def test_an_error_with_a_body_costs_its_request_only(where: str) -> None:
    """Nothing of the body stays in memory."""

    class Handler:
        def begin(self, _request: object, _exchange: Exchange) -> Collected:
            if where == "feed":
                return _FailingBody(None, None, lambda _: None)
            if where == "end":
                return Collected(None, None, lambda _: Reply(1 // 0))
            return Collected(None, None, lambda _: BAD)

    with opened() as running, running.registry.register(Serial("B"), Handler()):
        for _ in range(3):
            assert status_of(running.exchange(post(LINES * 40_000, serial="B"))) == 503
        assert running.receiver.status().failures == 3
        assert running.receiver.status().memory_bytes == 0
        assert running.exchange(get()) == OK


def test_bodies_have_a_longest_length() -> None:
    """One above it is received and discarded, so that the terminal can read the answer."""
    limits = Limits(body_bytes=10_000, discarded_bytes=100_000)
    with opened(limits) as running:
        assert status_of(running.exchange(post(b"x" * 10_000))) == 200
        assert status_of(running.exchange(post(b"x" * 10_001))) == 413
        assert status_of(running.exchange(post(b"x" * 100_001))) == 413
        assert body_of(running.exchange(post(b"\n" * 100_000, "OPERLOG"))) == b"OK: 100000"
        head = f"POST /iclock/cdata?SN={SN}&table=ATTLOG HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        assert status_of(running.exchange(head + b"2711\r\n" + b"x" * 10_001 + b"\r\n0\r\n\r\n")) == 413
        with running.dial() as sock:
            sock.sendall(post(b"", "OPERLOG", length=100_001))
            assert status_of(to_end(sock)) in (0, 413)
        assert running.receiver.status().memory_bytes == 0
        assert len(running.office.stored) == 1


def test_slow_callers_are_cut_off_and_harm_no_other() -> None:
    """One byte a second holds a connection for a bounded time."""
    with (
        opened(Limits(head_s=0.4, body_s=0.4, discarded_s=0.4)) as running,
        running.dial() as head,
        running.dial() as body,
    ):
        head.sendall(b"GET /iclock/")
        body.sendall(post(LINES, length=4000))
        assert running.exchange(get()) == OK
        assert to_end(head) == b""
        assert to_end(body) == b""
        until(lambda: running.receiver.status().closed == {"slow": 2})
        assert running.office.stored == []


def test_one_address_has_a_share_of_the_connections() -> None:
    """The others stay free."""
    with opened(Limits(per_address=3)) as running:
        open_ones = [running.dial() for _ in range(3)]
        until(lambda: running.receiver.status().connections == 3)
        assert running.exchange() == b""
        open_ones.pop().close()
        until(lambda: running.receiver.status().connections == 2)
        assert running.exchange(get()) == OK
        for sock in open_ones:
            sock.close()


def test_a_flood_of_connections_does_not_keep_a_terminal_out() -> None:
    """The connections without a request make room."""
    with opened(Limits(connections=5, per_address=100)) as running:
        flood = [running.dial() for _ in range(20)]
        assert running.exchange(get()) == OK
        assert running.receiver.status().connections <= 5
        assert running.receiver.status().closed["full"] >= 15
        assert "connections_refused" not in running.events()
        for sock in flood:
            sock.close()


def test_uploads_that_were_refused_keep_no_terminal_out() -> None:
    """Anybody can state the serial number of a terminal, and send the body of a refused request slowly."""
    with opened(Limits(connections=5, per_address=100)) as running:
        running.office.error = ValueError
        slow = [running.dial() for _ in range(5)]
        for sock in slow:
            sock.sendall(post(LINES, length=4000))
        until(lambda: len(running.office.requests) == 5)
        running.office.error = None
        assert running.exchange(get()) == OK
        for sock in slow:
            sock.close()


def test_connections_that_are_served_are_not_closed_for_new_ones() -> None:
    """An upload under way is worth more than a new connection."""
    with opened(Limits(connections=1)) as running, running.dial() as held:
        running.office.settle = False
        held.sendall(post(LINES))
        until(lambda: running.office.waiting)
        assert running.exchange() == b""
        assert running.office.waiting[0].reply(Reply(200, b"OK: 1"))
        assert body_of(to_end(held)) == b"OK: 1"
        assert "connections_refused" in running.events()


def test_a_terminal_that_calls_too_often_is_slowed_down() -> None:
    """A loop in its firmware costs the others nothing."""
    with opened(Limits(rate=0.001, burst=5)) as running:
        replies = [status_of(running.exchange(get())) for _ in range(7)]

        assert replies == [200] * 5 + [503] * 2
        (caller,) = running.registry.callers()
        assert caller.refused == {"too_often": 2}


def test_a_terminal_that_repeats_a_refused_call_at_once_is_served_at_the_rate() -> None:
    """A refused call takes nothing from its share, or repeating it faster than the rate would never end."""
    clock = [0.0]
    with opened(Limits(rate=20, burst=1), monotonic_s=lambda: clock[0]) as running:
        replies = []
        for _ in range(12):
            replies.append(status_of(running.exchange(get())))
            clock[0] += 0.03

        assert replies == [200, 503] * 6


def test_the_bodies_that_wait_have_a_bound_in_memory() -> None:
    """The next one comes again later."""
    with opened(Limits(memory_bytes=10_000)) as running, running.registry.register(Serial("B"), running.office):
        running.office.settle = False
        with running.dial() as waiting:
            waiting.sendall(post(b"x" * 6000))
            until(lambda: running.office.waiting)
            assert status_of(running.exchange(post(b"x" * 6000, serial="B"))) == 503
            chunked = b"POST /iclock/cdata?SN=B&table=ATTLOG HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert status_of(running.exchange(chunked + b"1770\r\n" + b"x" * 6000 + b"\r\n0\r\n\r\n")) == 503
            running.office.waiting[0].reply(Reply(200, b"OK: 1"))
            assert status_of(to_end(waiting)) == 200
        running.office.settle = True
        assert status_of(running.exchange(post(b"x" * 6000, serial="B"))) == 200
        assert running.receiver.status().memory_bytes == 0


def test_a_terminal_that_begins_again_has_given_its_first_upload_up() -> None:
    """A reset connection may stay unnoticed for long."""
    with opened() as running, running.dial() as first:
        first.sendall(post(LINES, length=4000))
        until(running.registry.callers)
        assert body_of(running.exchange(post(LINES))) == b"OK: 1"
        assert to_end(first) == b""


def test_an_upload_waits_for_that_before_it() -> None:
    """What is being stored is not overtaken."""
    with opened() as running, running.dial() as first:
        running.office.settle = False
        first.sendall(post(LINES))
        until(lambda: running.office.waiting)
        assert status_of(running.exchange(post(LINES))) == 503
        running.office.waiting[0].reply(Reply(200, b"OK: 1"))
        assert body_of(to_end(first)) == b"OK: 1"


def test_a_body_of_20_mb_leaves_the_memory_flat(office: Opened) -> None:
    """Of a body that is not kept no more than one piece is in memory."""
    office.exchange(post(b"\n" * 1_000_000, "OPERLOG"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    body = memoryview(b"FP PIN=1\tTMP=" + b"x" * 1011 + b"\n")
    with office.dial() as sock:
        sock.sendall(post(b"", "OPERLOG", length=20 * 1024**2))
        for _ in range(20 * 1024**2 // 1024 - len(body) // 1024):
            sock.sendall(body[:1024])
        sock.sendall(b"\n" * (20 * 1024**2 % 1024 + 1024))
        assert status_of(to_end(sock)) == 200
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 10 * 1024**2


def test_closing_answers_what_waits() -> None:
    """The terminals repeat after the restart."""
    with opened() as running:
        running.office.settle = False
        with running.dial() as waiting, running.dial() as idle:
            waiting.sendall(post(LINES))
            until(lambda: running.office.waiting)
            running.receiver.close()
            assert (status_of(to_end(waiting)), to_end(idle)) == (503, b"")
            assert not running.office.waiting[0].reply(Reply(200, b"OK: 1"))


def test_a_port_that_is_taken_is_opened_once_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other terminals are read meanwhile."""
    monkeypatch.setattr("drivers.receiver.listener.RETRY_S", (0.05, 0.1))
    reports: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        receiver = Receiver(Registry(), report=lambda event, /, **_: reports.append(event))
        with pytest.raises(OSError, match="in use"):
            receiver.configure(Config("127.0.0.1", port))
        assert receiver.status().listen is None
        receiver.configure(Config("127.0.0.1", port), retry=True)
        assert receiver.status().problem == os.strerror(98)
        receiver.start()
    until(lambda: receiver.port == port)
    assert receiver.status().problem is None
    receiver.close()
    assert reports == ["receiver_unavailable", "receiver_opened"]


def test_an_address_of_another_machine_is_a_clear_error() -> None:
    """The system's own words."""
    receiver = Receiver(Registry())
    with pytest.raises(OSError, match="assign"):
        receiver.configure(Config("192.0.2.1", 8088))
    receiver.close()


def test_listening_elsewhere_keeps_what_is_under_way_and_fails_whole() -> None:
    """A reload changes the address, or nothing."""
    with opened() as running, running.dial() as waiting:
        first = running.receiver.port
        assert first is not None
        running.office.settle = False
        waiting.sendall(post(LINES))
        until(lambda: running.office.waiting)
        with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
            running.receiver.configure(Config("127.0.0.1", taken.getsockname()[1]))
        assert running.exchange(get()) == OK

        running.receiver.configure(Config("127.0.0.2", first))
        with socket.create_connection(("127.0.0.2", first), 5) as sock:
            sock.sendall(get())
            assert to_end(sock) == OK
        running.receiver.configure(Config("0.0.0.0", first))  # noqa: S104 - the port of the receiver itself
        assert running.exchange(get()) == OK
        running.receiver.configure(None)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", first), 5)
        running.office.waiting[0].reply(Reply(200, b"OK: 1"))
        assert body_of(to_end(waiting)) == b"OK: 1"
        running.receiver.configure(Config("127.0.0.1", first))
        assert running.exchange(get()) == OK


def test_terminals_that_can_speak_tls(tmp_path: Path) -> None:
    """A handshake under way delays no other one."""
    authority = Authority(tmp_path, "ca")
    made = authority.issue("receiver")
    context = ssl.create_default_context(cafile=authority.ca)
    with opened(cert_file=made.certificate, key_file=made.key) as running:
        assert running.exchange(get(), tls=context) == OK
        assert body_of(running.exchange(post(LINES * 10_000), tls=context)) == b"OK: 10000"
        with suppress(ConnectionResetError):
            assert running.exchange(get()) == b""  # without TLS
        with running.dial() as sock:
            sock.sendall(b"\x16\x03")
            assert running.exchange(get(), tls=context) == OK
        until(lambda: running.receiver.status().closed.get("tls", 0) >= 1)


def test_handshakes_that_stall_take_neither_places_nor_memory(tmp_path: Path) -> None:
    """A flood of them: nothing sent, half a greeting, a whole one without an answer to ours. A terminal is served."""
    authority = Authority(tmp_path, "ca")
    made = authority.issue("receiver")
    files: dict[str, Any] = {"cert_file": made.certificate, "key_file": made.key}
    context = ssl.create_default_context(cafile=authority.ca)
    greeting = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), greeting, server_hostname="127.0.0.1").do_handshake()
    hello = greeting.read()
    with opened(Limits(connections=20, per_address=1000), **files) as running, ExitStack() as stack:
        assert running.exchange(get(), tls=context) == OK
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for part in (b"", hello[: len(hello) // 2], hello) * 100:
            sock = stack.enter_context(running.dial())
            with suppress(OSError):  # it may be closed already, to make room
                sock.sendall(part)
            assert running.receiver.status().connections <= 20
        assert running.exchange(get(), tls=context) == OK
        assert running.exchange(post(LINES), tls=context).endswith(b"OK: 1")
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 30 * 1024**2
    with opened(Limits(head_s=0.4), **files) as running, running.dial() as silent, running.dial() as half:
        half.sendall(hello[:100])
        until(lambda: running.receiver.status().closed.get("slow") == 2)
        for sock in (silent, half):
            with suppress(ConnectionResetError):
                assert to_end(sock) == b""


def test_a_certificate_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """The terminals go on calling."""
    (tmp_path / "cert.pem").write_text("no certificate")
    with opened() as running:
        assert running.receiver.port is not None
        config = Config("127.0.0.1", running.receiver.port, cert_file=tmp_path / "cert.pem")
        with pytest.raises(OSError):
            running.receiver.configure(config)
        with pytest.raises(OSError, match="No such file"):
            running.receiver.configure(replace(config, cert_file=tmp_path / "none.pem"))
        assert running.exchange(get()) == OK


VALID = (
    get(),
    get("cdata", f"SN={SN}&options=all&pushver=2.4.1"),
    post(LINES * 3),
    post(LINES, "OPERLOG"),
    post(LINES, more="Expect: 100-continue\r\n"),
    f"POST /iclock/cdata?SN={SN}&table=ATTLOG HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n".encode()
    + LINES
    + b"\r\n0\r\n\r\n",
)


def _mutated(request: bytes, chance: random.Random) -> bytes:
    """Return a request with one mutation of a piece of it."""
    at = chance.randrange(len(request) + 1)
    to = min(len(request), at + chance.randrange(1, 40))
    piece = request[at:to]
    return (
        request[:at]
        + chance.choice(
            (
                b"",
                piece * 2,
                piece[::-1],
                bytes(byte ^ 0x80 for byte in piece),
                b"\0" + piece,
                b"\r\n" + piece,
                b"Content-Length: 7\r\n" + piece,
                b"Transfer-Encoding: chunked\r\n" + piece,
                piece.upper(),
                b"99999999999999" + piece,
                b"%00%ff" + piece,
                piece + bytes(range(256)),
            )
        )
        + request[to:]
    )


def test_valid_requests_mutated_two_at_a_time_harm_no_other() -> None:
    """Whatever arrives is answered or closed; a body is stored whole or not at all, and others are served."""
    chance = random.Random(14)
    with opened(Limits(rate=1e6, burst=1e6, head_s=5.0, body_s=5.0, discarded_s=5.0)) as running:
        for _ in range(400):
            request = _mutated(_mutated(chance.choice(VALID), chance), chance)
            with running.dial() as sock:
                sock.sendall(request)
                sock.shutdown(socket.SHUT_WR)
                reply = to_end(sock)
            assert not reply or reply.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.1 100"))
        until(lambda: running.receiver.status().connections == 0)

        assert running.receiver.status().failures == 0
        assert running.receiver.status().memory_bytes == 0
        assert running.exchange(get()) == OK


def test_many_terminals_are_served_at_once_by_one_thread() -> None:
    """Each reply belongs to its own upload."""
    with opened(Limits(connections=64, per_address=64)) as running, ExitStack() as stack:
        names = [f"MANY{number:010}" for number in range(100)]
        replies: list[bytes] = []

        def call(serial: str) -> None:
            replies.extend(running.exchange(post(LINES * 150, serial=serial)) for _ in range(3))

        for name in names:
            stack.enter_context(running.registry.register(Serial(name), running.office))
        threads = [threading.Thread(target=call, args=(name,)) for name in names[:40]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [body_of(reply) for reply in replies] == [b"OK: 150"] * 120
        assert len(running.office.stored) == 120
