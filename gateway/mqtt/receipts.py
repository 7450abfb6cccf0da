"""Statements about this ledger from outside: the centre's receipts, and the ``info`` that the broker has retained."""

import time

from gateway.incidents import alarm_message
from gateway.ledger import Judgement, Ledger, LedgerFull, info_from, receipt_from
from gateway.log import get_logger
from gateway.mqtt.failure import BrokerUnavailable
from gateway.mqtt.ignored import Ignored
from gateway.mqtt.mailbox import INFO
from gateway.mqtt.takeover import Takeover, ledger_is_copy
from gateway.mqtt.timing import Timing
from gateway.mqtt.window import Alarm
from gateway.texts import Message, _

log = get_logger("publisher")


class Receipts:
    """Stores statements in the ledger, and has events sent again that the centre lacks."""

    def __init__(self, ledger: Ledger, takeover: Takeover, ignored: Ignored, alarm: Alarm, timing: Timing) -> None:
        self._ledger = ledger
        self._takeover = takeover
        self._ignored = ignored
        self._alarm = alarm
        self._interval_s = timing.missing_check_s
        self._centre_lacks_events = False
        """The last receipt listed missing events."""
        self._next_check = 0.0
        self._unstored = b""
        """A receipt that could not be stored because the disk is full."""
        self._store_at = 0.0

    def start(self) -> None:
        """Begin with what the ledger knows of the last receipt."""
        self._centre_lacks_events = self._ledger.counts().missing > 0

    def session_began(self) -> None:
        """Begin a session: the broker delivers the retained receipt again."""
        self._unstored, self._next_check = b"", 0.0

    def due(self, *, idle: bool) -> list[float]:
        """Return the monotonic times of the next work; ``idle``: no event is in flight."""
        due = [self._store_at] if self._unstored else []
        return [*due, self._next_check] if self._centre_lacks_events and idle else due

    def judge_info(self, payload: bytes) -> bool:
        """Judge the retained ``info`` of this gateway; return whether it made the ledger begin a new stream.

        A higher sequence than the ledger's proves that this ledger was set back. Another stream than the last one
        acknowledged to this process may prove that another machine publishes under this name. Raises BrokerUnavailable
        where nothing more may be published.
        """
        try:
            info = info_from(payload)
        except ValueError as exc:
            if payload:  # not written by this gateway; the introduction replaces it
                self._ignore("message_ignored", f"{INFO}: {exc}")
            return False
        before = self._ledger.stream
        try:
            judgement = self._ledger.judge_info(info)
        except LedgerFull as exc:
            raise _no_space_for_new_stream() from exc
        if judgement is Judgement.SET_BACK:
            self._report_rollback(
                Message(_("the broker has retained that {events} events were recorded"), events=info.sequence)
            )
        elif judgement is Judgement.REPEATED:
            self._report_repeated_rollback(Message(_("the retained info claims {events} events"), events=info.sequence))
        superseded = judgement is Judgement.SUPERSEDED
        other = self._takeover.other_stream(info.stream, before, time.monotonic(), superseded=superseded)
        if other == "copy":
            raise ledger_is_copy()
        if other == "unknown":
            self._alarm("client_id_taken", alarm_message("client_id_taken"))
        return judgement is Judgement.SET_BACK

    def note(self, payload: bytes) -> bool:
        """Store a receipt; return whether it made the ledger begin a new stream."""
        try:
            receipt = receipt_from(payload)
        except ValueError as exc:
            if self._ignore("receipt_invalid", what := Message(_("a receipt cannot be read ({error})"), error=exc)):
                self._alarm("receipt_invalid", alarm_message("receipt_invalid", what=what))
            return False
        self._unstored = b""
        try:
            judgement = self._ledger.note_receipt(receipt)
        except LedgerFull as exc:
            if receipt.stream == self._ledger.stream and receipt.upto > self._ledger.assigned():
                raise _no_space_for_new_stream() from exc
            self._unstored = payload
            self._store_at = time.monotonic() + self._interval_s
            return False
        if judgement is Judgement.FOREIGN:
            what = Message(_("a receipt speaks of a stream that this ledger never had"))
            if self._ignore("receipt_foreign", what):
                self._alarm("receipt_foreign", alarm_message("receipt_foreign", what=what))
        elif judgement is Judgement.SET_BACK:
            self._report_rollback(Message(_("the centre holds {events} events of the stream"), events=receipt.upto))
        elif judgement is Judgement.REPEATED:
            self._report_repeated_rollback(Message(_("a receipt covers {events} events"), events=receipt.upto))
        elif judgement is Judgement.NEWS:
            missing = sum(last - first + 1 for first, last in receipt.missing)
            if missing and not self._centre_lacks_events:
                log.warning("events_missing", events=missing, ranges=len(receipt.missing), upto=receipt.upto)
            elif self._centre_lacks_events and not missing:
                log.info("events_complete", upto=receipt.upto)
            self._centre_lacks_events = bool(missing)
            self._next_check = 0.0
        return judgement is Judgement.SET_BACK

    def store_again(self) -> bool:
        """Store a receipt for which there was no room, when that is due; see :meth:`note`."""
        return bool(self._unstored) and time.monotonic() >= self._store_at and self.note(self._unstored)

    def send_missing(self) -> None:
        """Mark events that the centre lacks to be sent again, when that is due."""
        now = time.monotonic()
        if not self._centre_lacks_events or now < self._next_check:
            return
        self._next_check = now + self._interval_s
        try:
            owed = self._ledger.resend_missing()
        except LedgerFull:
            return  # retried at the next check
        if owed.events or owed.forgotten:
            log.info("missing_sent_again", events=owed.events, forgotten=owed.forgotten)
            self._next_check = now  # more may be missing

    def _ignore(self, code: str, reason: str) -> bool:
        """Count an ignored message; log each kind once in a while. Return whether it was logged."""
        total = self._ignored.count(code)
        if total is None:
            return False
        log.warning(code, reason=reason, ignored=total)
        return True

    def _report_rollback(self, proof: str) -> None:
        self._alarm("rollback_detected", alarm_message("rollback_detected", proof=proof))

    def _report_repeated_rollback(self, claim: str) -> None:
        what = Message(
            _("{claim}, more than the ledger knows, less than an hour after a stream was opened for such a claim"),
            claim=claim,
        )
        if self._ignore("rollback_repeated", what):
            self._alarm("rollback_repeated", alarm_message("rollback_repeated", what=what))


def _no_space_for_new_stream() -> BrokerUnavailable:
    # No statement about this stream may be published any more, and the retained ``info`` must stay.
    return BrokerUnavailable(
        "the ledger was set back to an older state, and the disk is too full to begin a new stream", "refused"
    )
