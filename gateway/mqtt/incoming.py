"""Messages that the broker delivers to the gateway: statements about the ledger, and requests of the centre.

One bad message costs itself: it is counted as ignored, and logged once in a while.
"""

from collections.abc import Callable
from functools import partial

from gateway.commands import Request
from gateway.ledger import LedgerError
from gateway.log import get_logger
from gateway.mqtt.failure import BrokerUnavailable
from gateway.mqtt.ignored import Ignored
from gateway.mqtt.mailbox import INFO, RECEIPT, Mailbox, Received
from gateway.mqtt.receipts import Receipts
from gateway.mqtt.requests import Reply, request_from

log = get_logger("publisher")


class Incoming:
    """Processes the messages of every session of one publisher."""

    def __init__(
        self, prefix: str, receipts: Receipts, ignored: Ignored, requests: Callable[[Request], None], reply: Reply
    ) -> None:
        """Forward each request of the centre to ``requests``; ``reply`` sends what answers it."""
        self._prefix = prefix
        self._receipts = receipts
        self._ignored = ignored
        self._requests = requests
        self._reply = reply

    def process(self, mailbox: Mailbox, *, introduced: bool, on_new_stream: Callable[[], None]) -> None:
        """Process what a session has received; ``on_new_stream`` is called where a receipt made the ledger begin one.

        The retained ``info`` is judged before the gateway is ``introduced``, which replaces it. Raises
        BrokerUnavailable and LedgerError.
        """
        statements, requests, ignored = mailbox.take()
        for reason, count in ignored.items():
            self._ignore("message_ignored", reason, count)
        if INFO in statements and not introduced:
            self._handle(INFO, partial(self._receipts.judge_info, statements[INFO].payload))
        if RECEIPT in statements and statements[RECEIPT].payload:
            self._handle(RECEIPT, partial(self._note_receipt, statements[RECEIPT].payload, on_new_stream))
        for message in requests:
            self._handle("cmd", partial(self._forward_request, message))

    def _handle(self, topic: str, work: Callable[[], object]) -> None:
        """Run ``work`` for one message; an error costs this message only, which is counted as ignored.

        Errors of the broker or the ledger are not caused by the message and propagate.
        """
        try:
            work()
        except (BrokerUnavailable, LedgerError):
            raise
        except Exception as exc:
            if self._ignored.may_log("message_failed"):
                log.exception("message_failed", topic=topic)
            self._ignore("message_ignored", f"{topic}: {type(exc).__name__}")

    def _ignore(self, code: str, reason: str, count: int = 1) -> None:
        """Count ignored messages; log each kind once in a while."""
        total = self._ignored.count(code, count)
        if total is not None:
            log.warning(code, reason=reason, ignored=total)

    def _note_receipt(self, payload: bytes, on_new_stream: Callable[[], None]) -> None:
        if self._receipts.note(payload):
            on_new_stream()

    def _forward_request(self, message: Received) -> None:
        request = request_from(message, self._prefix, self._reply)
        if isinstance(request, str):
            self._ignore("request_ignored", request)
        else:
            self._requests(request)
