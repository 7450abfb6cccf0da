"""Why a broker cannot be used: the cause as data, the words for people, and the kind of pause to make. Pure."""

import errno
import socket
import ssl
from typing import Literal

BrokerCause = Literal[
    "name",
    "no_route",
    "silent",
    "port",
    "certificate",
    "tls",
    "files",
    "login",
    "refused",
    "taken",
    "replaced",
    "broke",
]
"""Why the broker cannot be used; each value names what an operator has to check."""

PauseKind = Literal["unreachable", "refused", "taken_over", "replaced"]
"""The pause before the next attempt; :class:`gateway.mqtt.timing.Timing` has its length."""

_VALIDITY_PERIOD_ERRORS = (9, 10)
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_STRICT_ERRORS = range(80, 95)
"""OpenSSL's errors of the checks under X509_V_FLAG_X509_STRICT, from X509_V_ERR_PATHLEN_INVALID_FOR_NON_CA to
X509_V_ERR_EC_KEY_EXPLICIT_PARAMS (x509_vfy.h of OpenSSL 3)."""


class BrokerUnavailable(Exception):  # noqa: N818 - named by the reaction it calls for
    """The broker cannot be used now."""

    def __init__(
        self,
        message: str,
        pause: PauseKind = "unreachable",
        alarm: str | None = None,
        *,
        cause: BrokerCause = "broke",
        unexplained: bool = False,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.pause = pause
        self.alarm = alarm
        self.unexplained = unexplained
        """A working connection was closed without a reason."""


def unreachable(where: str, exc: Exception) -> BrokerUnavailable:
    """Return the failure of a connection that could not be made."""
    by_hand = isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError)
    return BrokerUnavailable(
        f"the broker {where} cannot be reached: {error_text(exc)}",
        "refused" if by_hand else "unreachable",
        cause=cause_of(exc),
    )


def error_text(exc: Exception) -> str:
    """Return in words for people why a connection cannot be made."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({certificate_fault(exc)})"
    if isinstance(exc, ssl.SSLError) and exc.reason:
        return f"no TLS ({exc.reason.lower().replace('_', ' ')})"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return getattr(exc, "strerror", None) or str(exc)


def certificate_fault(exc: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with a certificate, and where to look."""
    if exc.verify_code in _VALIDITY_PERIOD_ERRORS:
        return f"{exc.verify_message}; is this machine's clock right?"
    if is_incomplete(exc):
        advice = "docs/broker.md makes a right one, and says what strict_certificates is for"
        return f"{exc.verify_message}; Python 3.13 and newer want that: {advice}"
    return exc.verify_message


def is_incomplete(exc: ssl.SSLCertVerificationError) -> bool:
    """Return whether a certificate is refused only by the checks added in Python 3.13 (VERIFY_X509_STRICT)."""
    return exc.verify_code in _STRICT_ERRORS


def cause_of(exc: Exception) -> BrokerCause:
    """Return why a connection cannot be made, as a :data:`BrokerCause`."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return "certificate"
    if isinstance(exc, ssl.SSLError):
        return "tls"
    if isinstance(exc, socket.gaierror | UnicodeError):
        return "name"
    if isinstance(exc, TimeoutError):
        return "silent"
    if isinstance(exc, ConnectionRefusedError):
        return "port"
    number = getattr(exc, "errno", None)
    return "no_route" if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN) else "broke"
