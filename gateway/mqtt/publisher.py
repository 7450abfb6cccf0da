"""Publishes the ledger's events over MQTT in order; an event is marked sent only after the broker acknowledged it.

One thread holds all state and waits at one queue, the inbox: it connects again and again, and what one connection does
is :class:`gateway.mqtt.connection.Connection`. Many waiting events go as arrays on ``batch``. Receipts of the centre
state what it holds and what it lacks.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from gateway.advice import BROKER_FINDINGS
from gateway.broker_status import BrokerStatus
from gateway.commands import Request
from gateway.event import utc_text
from gateway.findings import FINDINGS
from gateway.ledger import Ledger
from gateway.log import get_logger
from gateway.mqtt.blocked_topics import BlockedTopics
from gateway.mqtt.careful import Careful
from gateway.mqtt.connection import EVENT_RECORDED, RESEND, STATE, Connection, PublisherContext, encoded
from gateway.mqtt.failure import BrokerCause, BrokerUnavailable, PauseKind, unreachable
from gateway.mqtt.ignored import Ignored
from gateway.mqtt.incoming import Incoming
from gateway.mqtt.receipts import Receipts
from gateway.mqtt.requests import REPLY
from gateway.mqtt.session import (
    BAD_CREDENTIALS,
    BUSY,
    NO_MATCHING_SUBSCRIBERS,
    UNSUPPORTED_PROTOCOL,
    Connected,
    Disconnected,
    Session,
)
from gateway.mqtt.subscriptions import Subscriptions
from gateway.mqtt.takeover import Takeover
from gateway.mqtt.timing import Timing
from gateway.mqtt.window import Outgoing, Unsendable
from gateway.settings import Delivery, Mqtt, Settings
from gateway.texts import Message as Translatable

ALARM = "alarm"
"""Topic below the prefix."""

STEADY = 2.0
"""A connection that lasted this many times the longest pause ends a row of failures.

Of two machines with one client id each is connected while the other one pauses: a shorter time would make both begin
again with the shortest pause.
"""
ALARMS_KEPT = 100

log = get_logger("publisher")

_STOP = object()


class Publisher:
    """Publishes one ledger to one broker."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        *,
        introduction: Callable[[], Iterable[tuple[str, dict[str, Any] | None]]] = tuple,
        requests: Callable[[Request], None] = lambda _request: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        timing: Timing | None = None,
    ) -> None:
        """``introduction`` returns the retained topics and payloads that every connection begins with, after ``state``.

        ``requests`` receives each request of the centre, and must return at once.
        """
        self._mqtt: Mqtt = settings.mqtt
        self._delivery: Delivery = settings.delivery
        self._client_id = settings.client_id
        self._prefix = settings.topic_prefix
        self._ledger = ledger
        self._now = now
        timing = timing or Timing()
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._recent_alarms: deque[dict[str, Any]] = deque(maxlen=ALARMS_KEPT)
        takeover = Takeover(timing.short_session_s, timing.replaced_again_s)
        ignored = Ignored(timing.ignored_log_s)
        receipts = Receipts(ledger, takeover, ignored, self.alarm, timing)
        self._context = PublisherContext(
            where=f"{settings.mqtt.host}:{settings.mqtt.port}",
            window=settings.mqtt.window,
            delivery=settings.delivery,
            ledger=ledger,
            introduction=introduction,
            now=now,
            timing=timing,
            alarm=self.alarm,
            inbox=self._inbox,
            alarms=deque(maxlen=ALARMS_KEPT),
            blocked=BlockedTopics(timing.retry_initial_s, timing.retry_max_s),
            careful=Careful(timing.limits_kept_s),
            takeover=takeover,
            subscriptions=Subscriptions(timing.subscribe_again_s, timing.limits_kept_s),
            unsendable=Unsendable(ledger, self.alarm),
            receipts=receipts,
            incoming=Incoming(self._prefix, receipts, ignored, requests, self._reply),
        )
        self._problem: str | None = None
        self._cause: BrokerCause | None = None
        self._connected = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether a session with the broker is established."""
        return self._connected

    @property
    def status_text(self) -> str:
        """The status of the connection in technical English."""
        return self.status.text()

    @property
    def status(self) -> BrokerStatus:
        """The status of the connection."""
        if not self._connected:
            return BrokerStatus(connected=False, cause=self._cause, reason=self._problem)
        codes = self._context.blocked.codes()
        return BrokerStatus(
            connected=True,
            unsubscribed=[topic for topic, code in codes.items() if code == NO_MATCHING_SUBSCRIBERS],
            refused={topic: code for topic, code in codes.items() if code != NO_MATCHING_SUBSCRIBERS},
            subscriptions_refused=sorted(self._context.subscriptions.refused.copy()),
        )

    @property
    def is_alive(self) -> bool:
        """Whether the publishing thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to connect and publish, and go on until :meth:`stop`."""
        if self._mqtt.protocol != 5:
            log.warning("refusals_invisible", reason="with MQTT 3.1.1 the broker cannot say that it refused a message")
        self._ledger.on_recorded = lambda: self._inbox.put(EVENT_RECORDED)
        self._ledger.on_resend = lambda: self._inbox.put(RESEND)
        self._ledger.trust(self._delivery.confirm)
        self._context.receipts.start()
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Publish ``offline``, disconnect and end the thread; return whether it ended within ``timeout_s``."""
        self._context.stopping.set()
        self._inbox.put(_STOP)
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def announce(self, topic: str, payload: dict[str, Any] | None, *, retain: bool = True) -> None:
        """Publish a message below the prefix now; None removes the retained message.

        Without a connection a retained message is dropped, because the next introduction contains it. Any other is kept
        for the next connection, in the same bounded queue as alarms.
        """
        self._inbox.put(Outgoing(topic, payload, retain=retain))

    def alarm(self, code: str, message: str, terminal: str | None = None) -> None:
        """Publish an alarm for people; without a connection the newest hundred are kept for the next one."""
        payload = {"at": utc_text(self._now()), "alarm": code, "terminal": terminal, "message": message}
        self._recent_alarms.append(payload)
        self._inbox.put(Outgoing(ALARM, payload, retain=False))

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """The newest hundred alarms since the start, the last one first, whether published or not."""
        return list(reversed(self._recent_alarms.copy()))

    # The thread.

    def _run(self) -> None:
        failures = 0
        pause: PauseKind | None = None
        try:
            while not self._context.stopping.is_set():
                connection = None
                try:
                    connection = self._connect(failures)
                    self._run_session(connection)
                except BrokerUnavailable as exc:
                    if self._context.stopping.is_set():
                        return
                    lived_s = time.monotonic() - connection.started if connection else 0.0
                    if connection is not None:
                        self._context.subscriptions.connection_ended()
                        self._context.careful.session_ended(connection.sequences)
                    problem = self._context.takeover.session_ended(exc, lived_s)
                    back_off = self._context.timing.pauses[problem.pause]
                    steady_s = max(self._context.timing.short_session_s, STEADY * back_off.longest_s)
                    failures = failures + 1 if problem.pause == pause and lived_s <= steady_s else 1
                    pause = problem.pause
                    pause_s = back_off.after(failures)
                    self._report_lost(problem, pause_s)
                    self._wait_to_retry(pause_s)
        except BaseException:
            log.exception("publisher_failed")
            raise

    def _report_lost(self, problem: BrokerUnavailable, pause_s: float) -> None:
        """Log once when the connection breaks, not at every attempt; and again where a person must act."""
        if self._problem is None or (problem.pause != "unreachable" and str(problem) != self._problem):
            log.warning("broker_lost", broker=self._context.where, reason=str(problem), retry_s=round(pause_s, 1))
            if problem.alarm:
                finding = FINDINGS[BROKER_FINDINGS[problem.cause]]
                self.alarm(problem.alarm, Translatable(finding.text, str(problem), reason=str(problem)))
        self._problem, self._cause = str(problem), problem.cause

    def _wait_to_retry(self, pause_s: float) -> None:
        """Wait; keep alarms, and drop messages that the next introduction contains."""
        until = time.monotonic() + pause_s
        while not self._context.stopping.is_set() and (left := until - time.monotonic()) > 0:
            try:
                item = self._inbox.get(timeout=left)
            except queue.Empty:
                return
            self._keep_alarm(item)

    def _keep_alarm(self, item: object) -> None:
        # A reply to a request of an earlier connection is dropped: its requester no longer waits.
        if isinstance(item, Outgoing) and not item.retain and not item.topic.startswith(f"{REPLY}/"):
            self._context.alarms.append(item)

    def _connect(self, failures: int) -> Connection:
        number = self._ledger.next_session()
        session = Session(
            self._mqtt,
            self._client_id,
            self._prefix,
            timing=self._context.timing,
            inbox=self._inbox,
            will=(STATE, encoded({"state": "offline", "session": number})),
        )
        try:
            try:
                answer = session.connect(other=self._while_connecting)
            except (OSError, ValueError) as exc:
                raise unreachable(self._context.where, exc) from exc
            connection = Connection(self._context, session, number, self._accepted(session, answer))
        except BaseException:
            session.close(gracefully=False)
            raise
        self._connected = True
        self._problem = self._cause = None
        log.info(
            "broker_found",
            broker=self._context.where,
            session=number,
            window=connection.window.limits.window,
            after_failures=failures,
        )
        return connection

    def _while_connecting(self, item: object) -> None:
        if self._context.stopping.is_set():
            raise BrokerUnavailable("stopping")
        self._keep_alarm(item)

    def _accepted(self, session: Session, answer: Connected | Disconnected | None) -> Connected:
        """Return the broker's answer to CONNECT; raises BrokerUnavailable where it is a refusal, or there is none."""
        where = self._context.where
        if answer is None:
            raise BrokerUnavailable(f"the broker {where} accepts the connection and does not answer", cause="silent")
        if isinstance(answer, Disconnected):
            hint = f" ({session.client.violation})" if session.client.violation else ""
            # With TLS 1.3 a refused certificate shows only here, and the library does not report it.
            if self._mqtt.tls and not hint:
                ours = "does not take this gateway's certificate (expired, revoked, another authority)"
                hint = f"; most likely it {ours if self._mqtt.cert_file else 'wants a certificate: mqtt.cert_file'}"
            raise BrokerUnavailable(
                f"the broker {where} closes the connection instead of answering{hint}",
                cause="tls" if self._mqtt.tls else "refused",
            )
        if answer.code in BAD_CREDENTIALS:
            raise BrokerUnavailable(
                f"the broker {where} refuses the login ({answer.text}); check mqtt.username, the password file "
                "and the broker's list of users",
                "refused",
                "login_refused",
                cause="login",
            )
        if answer.code != 0:
            hint = "; set mqtt.protocol to 3.1.1" if answer.code == UNSUPPORTED_PROTOCOL else ""
            raise BrokerUnavailable(
                f"the broker {where} refuses the connection ({answer.text}){hint}",
                "unreachable" if answer.code in BUSY else "refused",
                cause="refused",
            )
        return answer

    def _run_session(self, connection: Connection) -> None:
        offline_acknowledged = False
        try:
            offline_acknowledged = connection.run()
        finally:
            self._connected = False
            for message in connection.unacknowledged():
                self._keep_alarm(message)
            connection.close(gracefully=offline_acknowledged)

    def _reply(self, topic: str, payload: dict[str, Any], correlation: bytes | None) -> None:
        """Queue the reply to a request; called from any thread."""
        self._inbox.put(Outgoing(topic, payload, retain=False, correlation=correlation))
