"""The driver behind a real receiver: who is answered what, and what no caller can take from the others."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.base import Delivery, Notice, Record, Settlement, TerminalRefused, TerminalUnavailable, Untimed
from drivers.receiver.listener import Limits
from drivers.receiver.registry import UrlPath
from drivers.webhook.terminal import DRIVER, WebhookCaller, WebhookOptions, attach, connect
from tests.broker import eventually
from tests.drivers.push.office import Port
from tests.drivers.webhook.office import PATH, answer, body_of, entry, exchange, receiving, request, signature

GOOD = {"pin": "0042", "at": "2026-11-30T07:01:02+07:00", "kind": "masuk", "id": "a-1"}


def options(folder: Path, **more: Any) -> WebhookOptions:
    """Return the options of an app."""
    return WebhookOptions.model_validate({"name": "aplikasi", **entry(folder, **more)})


@dataclass
class Gateway:
    """A worker that counts records as stored; nothing is ever known."""

    url: str
    port: Port
    caller: WebhookCaller
    records: list[Record] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    holds: threading.Event = field(default_factory=threading.Event)
    """While it is clear, what has arrived is not settled."""
    is_holding: threading.Event = field(default_factory=threading.Event)
    """Something has arrived."""

    def post(self, *pieces: bytes, ends: bool = False) -> tuple[int, Any]:
        """Send bytes; return the status of the reply and its JSON."""
        try:
            return answer(exchange(self.url, *pieces, ends=ends))
        except OSError:  # closed while it was sending
            return 0, None

    def refused(self) -> dict[str, int]:
        """Return why requests were refused."""
        (caller,) = self.port.callers()
        return dict(caller.refused)

    def work(self, stop: threading.Event) -> None:
        """Store what arrives."""
        with self.caller.connect() as terminal:
            while not stop.is_set():
                with closing(terminal.deliveries(0.05)) as items:
                    for item in items:
                        if isinstance(item, Notice):
                            self.notices.append(item)
                        elif isinstance(item, Delivery):
                            records = [record for record in item.records if not isinstance(record, Untimed)]
                            self.is_holding.set()
                            self.holds.wait(60)
                            self.records += records
                            item.settle(Settlement(len(records)))


@contextmanager
def working(folder: Path, limits: Limits | None = None, **more: Any) -> Iterator[Gateway]:
    """Yield a gateway that serves an app."""
    stop = threading.Event()
    with receiving(limits) as (url, port), attach(options(folder, **more), port) as caller:
        gateway = Gateway(url, port, caller)
        gateway.holds.set()
        thread = threading.Thread(target=gateway.work, args=(stop,))
        thread.start()
        try:
            eventually(lambda: gateway.post(request(b'{"records": []}'))[0] == 200)
            yield gateway
        finally:
            stop.set()
            gateway.holds.set()
            thread.join()


def test_answers(tmp_path: Path) -> None:
    """What an app may do wrong, one after the other; the right post is stored in the end, and once."""
    body = body_of(GOOD)
    right = signature(body)
    with working(tmp_path) as gateway:
        assert gateway.post(request(body, method="GET"))[0] == 405
        assert gateway.post(request(body, "X-Other: 1"))[0] == 401
        assert gateway.post(request(body, f"X-Hub-Signature-256: {right[7:]}"))[0] == 401
        assert gateway.post(request(body, f"X-Hub-Signature-256: {signature(body + b' ')}"))[0] == 401
        assert gateway.post(request(body, f"X-Hub-Signature-256: {right}"[:-1] + "g"))[0] == 401
        for bad in (b"", b"{", b'{"records": [NaN]}', b'{"records": 1}'):
            status, reply = gateway.post(request(bad))
            assert status == 400
            assert list(reply) == ["error"]
        assert gateway.post(request(body_of(*[1] * 5001)))[0] == 413
        assert gateway.post(request(b'{"records": [' + b" " * (1 << 20) + b"]}"))[0] == 413
        assert gateway.post(request(b" " * 20 * 1024 * 1024))[0] == 413
        assert exchange(gateway.url, request(body)[:-5], ends=True) == b""  # cut: no reply, nothing stored
        assert gateway.post(request(body, path="other"))[0] == 404
        assert gateway.records == []
        upper = request(body, f"x-hub-signature-256:   {right.upper().replace('SHA', 'sha')}")
        assert gateway.post(upper) == (200, {"stored": 1, "known": 0, "quarantined": 0})
        assert len(gateway.records) == 1
        assert gateway.refused() == {
            "no_signature": 3,
            "wrong_signature": 1,
            "no_json": 3,
            "other_form": 1,
            "too_many": 1,
            "too_long": 2,
        }
        eventually(lambda: {notice.code for notice in gateway.notices} == {"signature_refused", "post_unreadable"})


def test_posts_too_often_get_429(tmp_path: Path) -> None:
    """With a header that states when to come again; terminals get 503."""
    with receiving(Limits(rate=0.001, burst=2)) as (url, port), attach(options(tmp_path), port):
        replies = [exchange(url, request(b"{}")) for _ in range(3)]
    assert [answer(reply)[0] for reply in replies] == [503, 503, 429]
    assert b"\r\nRetry-After: 5\r\n" in replies[2]
    (caller,) = port.callers()
    assert caller.refused == {"too_often": 1}


def test_a_slow_post_is_ended_and_harms_no_other(tmp_path: Path) -> None:
    """A byte now and then: the connection is closed without a reply after the time of a body."""
    body = body_of(GOOD)
    replies: list[bytes] = []

    def trickle() -> None:
        sent = request(body)
        try:
            replies.append(
                exchange(
                    gateway.url,
                    sent[:-20],
                    *(sent[at : at + 1] for at in range(len(sent) - 20, len(sent))),
                    pause_s=0.2,
                )
            )
        except OSError:
            replies.append(b"")  # closed while it was sending

    with working(tmp_path, Limits(body_s=0.5)) as gateway:
        slow = threading.Thread(target=trickle)
        slow.start()
        eventually(lambda: gateway.post(request(body))[0] == 200)
        slow.join()
        assert replies == [b""]
        assert len(gateway.records) == 1


def test_several_posts_of_one_app_may_be_under_way(tmp_path: Path) -> None:
    """An app has many users: four at once wait for the ledger, and no post ends another."""
    with working(tmp_path, Limits(hold_s=60.0)) as gateway:
        gateway.holds.clear()
        answers: list[tuple[int, Any]] = []

        def post(number: int) -> None:
            answers.append(gateway.post(request(body_of(GOOD | {"id": f"b-{number}"}))))

        threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: gateway.is_holding.is_set() and len(gateway.caller._waiting) == 3)
        assert gateway.post(request(body_of(GOOD)))[0] == 503
        gateway.holds.set()
        for thread in threads:
            thread.join()
        assert [status for status, _ in answers] == [200] * 4
        assert len(gateway.records) == 4
        assert gateway.refused()["busy"] == 1


def test_posts_without_a_pause_do_not_keep_the_worker(tmp_path: Path) -> None:
    """While one waits all the time, the worker has its other work between them, and is woken for those that wait."""
    with receiving(Limits(hold_s=60.0)) as (url, port), attach(options(tmp_path), port) as caller:
        answers: list[int] = []

        def post(number: int) -> None:
            records = body_of(GOOD | {"id": f"c-{number}"})
            answers.append(answer(exchange(url, request(records)))[0])

        def begin() -> None:
            before = len(caller._waiting)
            threads.append(threading.Thread(target=post, args=(len(threads),)))
            threads[-1].start()
            eventually(lambda: len(caller._waiting) > before)

        threads: list[threading.Thread] = []
        with caller.connect() as terminal:
            begin()
            calls = [0, 0, 0]
            for call in range(len(calls)):
                for item in terminal.deliveries(0.0):
                    calls[call] += 1
                    if len(threads) < 20:
                        begin()
                    port.woken.clear()
                    assert isinstance(item, Delivery)
                    item.settle(Settlement(1))
                assert port.woken.is_set() or calls[call] < 8
        for thread in threads:
            thread.join()
    assert calls == [8, 8, 4]
    assert answers == [200] * 20


def test_an_exchanged_secret_is_read_with_the_first_wrong_signature(tmp_path: Path) -> None:
    """No reload is needed; the old secret is refused from then on."""
    body, new = body_of(GOOD), "another secret of the app".replace(" ", "-")
    signed_anew = request(body, f"X-Hub-Signature-256: {signature(body, new)}")
    with working(tmp_path) as gateway:
        assert gateway.post(signed_anew)[0] == 401
        (tmp_path / "secret").write_text(new)
        eventually(lambda: gateway.post(signed_anew)[0] == 200)
        assert gateway.post(request(body))[0] == 401


def test_what_the_driver_is_not(tmp_path: Path) -> None:
    """It cannot be called, has no clock, and without its secret it refuses."""
    made = options(tmp_path)
    with pytest.raises(TerminalUnavailable, match="posts to the gateway"), connect(made):
        pass
    assert DRIVER.at is not None
    with pytest.raises(ValidationError, match="cannot be called"):
        DRIVER.at("10.0.0.1")
    with receiving() as (url, port), attach(made, port) as caller:
        assert answer(exchange(url, request(b"{}")))[0] == 503
        with caller.connect() as terminal:
            assert terminal.identify().serial == terminal.serial() == "APP-PRESENSI"
        (tmp_path / "secret").write_text("short\n")
        with pytest.raises(TerminalRefused, match="16 or more") as raised, caller.connect():
            pass
        assert "short" not in str(raised.value)
        (tmp_path / "secret").unlink()
        with pytest.raises(TerminalRefused, match="No such file"), caller.connect():
            pass
    assert made.key() == UrlPath(f"/hook/{PATH}")
    assert options(tmp_path, path=None).key() == UrlPath("/hook/aplikasi")
