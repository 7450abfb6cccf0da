"""Sends the mails that wait, one connection each: what goes wrong with one costs that one, which is tried again later.

The connection is encrypted before anything is sent, and the server's certificate must be right. A mail that the server
refuses for good is given up; everything else is tried again, later each time. A server that cannot be reached for
several mails in a row ends the run: the others wait for the next one.
"""

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import NamedTuple

import structlog

from central.mail.settings import MailSettingsError, Server, password_of
from central.store import mails
from central.store.engine import Database, utc
from central.store.mails import Waiting
from central.web.accounts import MAIL

WAITS_S = (300, 900, 3_600, 4 * 3_600, 12 * 3_600)
"""How long a mail waits after each failed attempt; after the last of them it is given up."""
TIMEOUT_S = 30.0
"""For one answer of the server."""
QUIT_S = 5.0
"""For its answer to the end of the conversation, which changes nothing."""
DEADLINE_S = 120.0
"""For a mail as a whole: a server that sends a byte at a time is cut off."""
LEASE_S = 600
"""So long no other run tries a mail that one has taken: longer than its deadline."""
IN_A_ROW = 3
"""Mails that fail because of the server, after which the run ends."""
MAX_FAILURE = 200
"""Characters of a failure that are kept."""

log = structlog.get_logger("mail")


class Outcome(NamedTuple):
    """What a run came to, in mails."""

    sent: int
    failed: int
    refused: int


class _Refused(Exception):  # noqa: N818 - named by what is the matter
    """The server refuses this mail for good."""


class _Deferred(Exception):  # noqa: N818 - as above
    """The server refuses this mail for now."""


class Sending:
    """Sends mails by a server."""

    def __init__(
        self,
        database: Database,
        server: Server,
        sender: str,
        now: Callable[[], datetime],
        *,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._database, self._server, self._sender, self._now = database, server, sender, now
        self._timeout_s, self._deadline_s = timeout_s, deadline_s

    def run(self) -> Outcome:
        """Try every mail that may be tried now, once; raises StoreError and MailSettingsError."""
        password = password_of(self._server)
        sent = failed = refused = in_a_row = 0
        while in_a_row < IN_A_ROW and (mail := self._claim()) is not None:
            try:
                self._send(mail, password)
            except _Refused as exc:
                refused, in_a_row = refused + 1, 0
                self._give_up(mail, str(exc))
            except MailSettingsError:
                raise
            except Exception as exc:  # noqa: BLE001 - whatever a server or a mail makes fail costs that mail
                failed, in_a_row = failed + 1, in_a_row + 1
                self._fail(mail, failure_of(exc))
            else:
                sent, in_a_row = sent + 1, 0
                with self._database.writing() as connection:
                    mails.mark_sent(connection, mail.id, utc(self._now()))
        return Outcome(sent, failed, refused)

    def _claim(self) -> Waiting | None:
        now = int(self._now().timestamp())
        with self._database.writing() as connection:
            return mails.claim(connection, now, now + LEASE_S)

    def _fail(self, mail: Waiting, failure: str) -> None:
        if mail.attempts > len(WAITS_S):
            self._give_up(mail, failure)
            return
        next_at = int(self._now().timestamp()) + WAITS_S[mail.attempts - 1]
        with self._database.writing() as connection:
            mails.mark_failed(connection, mail.id, failure, next_at)
        log.warning("mail_not_sent", mail=mail.id, attempt=mail.attempts, failure=failure)

    def _give_up(self, mail: Waiting, failure: str) -> None:
        with self._database.writing() as connection:
            mails.refuse(connection, mail.id, failure)
        log.error("mail_given_up", mail=mail.id, attempt=mail.attempts, failure=failure)

    def _send(self, mail: Waiting, password: str | None) -> None:
        message = message_of(mail, self._sender)
        context = ssl.create_default_context(cafile=self._server.ca_file)
        session = _Session(self._server, context, self._timeout_s)
        timer = threading.Timer(self._deadline_s, session.cut)
        timer.daemon = True
        timer.start()
        try:
            session.send(message, self._sender, mail.address, password)
        finally:
            timer.cancel()
            session.close()


class _Session:
    """One conversation with the server, which another thread may cut off."""

    def __init__(self, server: Server, context: ssl.SSLContext, timeout_s: float) -> None:
        self._server, self._context, self._timeout_s = server, context, timeout_s
        self._smtp: smtplib.SMTP | None = None

    def send(self, message: EmailMessage, sender: str, recipient: str, password: str | None) -> None:
        """Send one mail to one recipient; raises _Refused where the server will never take it."""
        server, smtp = self._server, self._connect()
        if server.security == "starttls":
            smtp.starttls(context=self._context)  # a server that does not offer it raises
        if server.username is not None and password is not None:
            smtp.login(server.username, password)
        try:
            smtp.send_message(message, sender, [recipient])
        except smtplib.SMTPRecipientsRefused as exc:
            code, text = exc.recipients[recipient]
            raise _by_code(code, text) from exc
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as exc:
            raise _by_code(exc.smtp_code, exc.smtp_error) from exc

    def _connect(self) -> smtplib.SMTP:
        host, port, name = self._server.host, self._server.port, socket.gethostname()
        if self._server.security == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(timeout=self._timeout_s, context=self._context, local_hostname=name)
        else:
            smtp = smtplib.SMTP(timeout=self._timeout_s, local_hostname=name)
        smtp._host = host  # type: ignore[attr-defined]  # noqa: SLF001 - what the certificate must name; set by a constructor that connects
        self._smtp = smtp
        code, text = smtp.connect(host, port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)
        return smtp

    def cut(self) -> None:
        """Break the connection, whatever the other thread waits for."""
        sock = None if self._smtp is None else self._smtp.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the conversation; a server that has gone is none to say goodbye to."""
        if self._smtp is None:
            return
        try:
            if self._smtp.sock is not None:
                self._smtp.sock.settimeout(min(self._timeout_s, QUIT_S))
            self._smtp.quit()
        except (OSError, smtplib.SMTPException):
            self._smtp.close()


def _by_code(code: int, text: bytes | str) -> Exception:
    """Return what an answer of the server means: 5xx for ever, anything else for now."""
    answer = f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
    return _Refused(printable(answer)) if 500 <= code < 600 else _Deferred(printable(answer))


def failure_of(exc: Exception) -> str:
    """Return what went wrong in one line, without anything of the mail."""
    if isinstance(exc, _Deferred):
        return str(exc)
    if isinstance(exc, ssl.SSLCertVerificationError):
        return printable(f"the server's certificate is not trusted: {exc.verify_message}")
    if isinstance(exc, smtplib.SMTPNotSupportedError):
        return "the server does not offer STARTTLS, or no login"
    if isinstance(exc, smtplib.SMTPAuthenticationError):
        return printable(f"the login is refused: {exc.smtp_code}")
    if isinstance(exc, TimeoutError | smtplib.SMTPServerDisconnected):
        return "the server does not answer, or has closed the connection"
    return printable(f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__)


def printable(text: str) -> str:
    """Return a text as one line of bounded length."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:MAX_FAILURE]


def message_of(mail: Waiting, sender: str) -> EmailMessage:
    """Return a mail as it is sent; raises _Refused where it has no address."""
    if not MAIL.fullmatch(mail.address):
        raise _Refused("no plain address")
    message = EmailMessage()
    message["From"] = sender
    message["To"] = mail.address
    message["Subject"] = printable(mail.subject)
    made = datetime.fromisoformat(mail.made)
    message["Date"] = format_datetime(made)
    # The same at each attempt: a server that took a mail and was cut off before its reply can recognise the second.
    message["Message-ID"] = f"<hadir-{mail.id}-{int(made.timestamp())}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(mail.text)
    return message
