"""A session with the requests of a terminal, without sockets: for the tests of the driver."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from drivers.base import Notice
from drivers.push.session import Batch, Session
from drivers.receiver.http import Reply, parse_head
from drivers.receiver.registry import Body, Exchange

SERIAL = "SYN0000000001"
ZONE = ZoneInfo("Asia/Jakarta")


class Conversation:
    """A session whose batches are stored, or refused, and whose time moves by hand."""

    def __init__(
        self,
        *,
        sets_clock: bool = False,
        zone: ZoneInfo = ZONE,
        comm_key: str | None = None,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        self.now_s = 1000.0
        self.begun = datetime(2026, 11, 30, 0, 0, tzinfo=UTC)
        self.synchronised = True
        self.is_stored = True
        """Whether batches are stored; else they are refused."""
        self.takes = True
        """Whether the mailbox has room."""
        self.batches: list[Batch] = []
        self.notices: list[Notice] = []
        self.replies: list[Reply] = []
        self.address = "192.168.1.201"
        self.session = Session(
            SERIAL,
            zone,
            deliver=self._deliver,
            notice=self.notices.append,
            monotonic_s=lambda: self.now_s,
            trusted_now=lambda: self.now() if self.synchronised else None,
            sets_clock=sets_clock,
        )
        self.session.allow(comm_key)
        self.session.resume({"ATTLOG": "0"} if marks is None else marks)

    def now(self) -> datetime:
        """Return the time of the computer."""
        return self.begun + timedelta(seconds=self.now_s - 1000.0)

    def _deliver(self, batch: Batch, exchange: Exchange) -> bool:
        if not self.takes:
            return False
        self.batches.append(batch)
        if self.is_stored:
            self.session.stored(batch)
            exchange.reply(batch.reply)
        else:
            exchange.reply(Reply(503))
        return True

    def send(self, target: str, body: bytes | None = None, step: int = 1 << 16) -> Reply:
        """Send a request below ``/iclock/``; a body makes it a POST. Return the reply; the time moves a little."""
        self.now_s += 0.5
        method, length = ("GET", "") if body is None else ("POST", f"\r\nContent-Length: {len(body)}")
        target = target if target.startswith("/") else f"/iclock/{target}"
        joint = "&" if "?" in target else "?"
        head = f"{method} {target}{joint}SN={SERIAL} HTTP/1.0\r\nHost: 10.1.2.3:8088{length}"
        request = replace(parse_head(head.encode("latin-1")), peer=self.address)
        self.replies.clear()
        exchange = Exchange(self.replies.append)
        found = self.session.begin(request, exchange)
        if isinstance(found, Body):
            sent = body or b""
            assert found.limit is not None
            assert len(sent) <= found.limit
            for at in range(0, len(sent), step):
                found.feed(sent[at : at + step])
            answer = found.end()
            reply = answer if answer is not None else self.replies[0]
        else:
            reply = found
        reply.encode()
        return reply

    def send_head(self, head: bytes) -> Reply | None:
        """Begin with the bytes of a head; return the reply, or None where a body is expected."""
        found = self.session.begin(replace(parse_head(head), peer=self.address), Exchange(self.replies.append))
        return found if isinstance(found, Reply) else None

    def text(self, target: str, body: bytes | None = None) -> str:
        """Return the text of the reply, which must be 200."""
        reply = self.send(target, body)
        assert reply.status == 200, reply
        return reply.body.decode("ascii")

    def options(self) -> dict[str, str]:
        """Return the options that the terminal gets when it begins."""
        lines = self.text("cdata?options=all&pushver=2.4.1&language=73").splitlines()
        return dict(line.split("=", 1) for line in lines[1:])

    def pins(self) -> list[str | None]:
        """Return the PINs of the stored punches, and None for each bad record."""
        return [getattr(record, "pin", None) for batch in self.batches for record in batch.records]
