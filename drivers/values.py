"""Values as people type them: durations, numbers and addresses, each with its bounds.

A value that an earlier version accepted and this one refuses is refused where a person enters it (`hadir check`, the
address on a command line), by :func:`refuse_newly`. A gateway that runs with it goes on and warns.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

STRICT = "strict"
"""Key of a validation context: True where the refusals of this version apply."""
NEWLY_REFUSED = "newly_refused"
"""Type of the validation errors that :func:`refuse_newly` raises."""

MAX_DURATION_S = 366 * 86400.0
"""No longer duration has a use, and the operating system refuses time-outs above its own limit."""


def refuse_newly(info: ValidationInfo, message: str) -> None:
    """Refuse a value that an earlier version accepted, where the validation context is strict."""
    if (info.context or {}).get(STRICT):
        raise PydanticCustomError(NEWLY_REFUSED, "{reason}", {"reason": message})


# ---------------------------------------------------------------- durations and numbers

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: object) -> object:
    """Return the seconds of ``"90s"``, ``"10m"``, ``"1h"``; other types are returned for the type check to refuse."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("not a duration; write a number and a unit, such as 10s, 5m or 1h")
        return float(match[1]) * _SECONDS[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f"a duration needs a unit; write {value}s, {value}m or {value}h")  # noqa: TRY004 - pydantic collects ValueError
    return value


def _bounded_wait(value: float, info: ValidationInfo) -> float:
    if value > MAX_DURATION_S:
        refuse_newly(info, "too long; write 366d or less")
    return min(value, MAX_DURATION_S)


Seconds = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0, allow_inf_nan=False),
    AfterValidator(_bounded_wait),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$", "examples": ["10s", "5m", "1h"]}),
]
"""A duration above zero, written with its unit."""


def duration_between(minimum: str, maximum: str) -> AfterValidator:
    """Return a validator of ``Seconds`` from ``minimum`` to ``maximum``, which are typed durations."""
    shortest, longest = (float(str(parse_duration(text))) for text in (minimum, maximum))

    def check(value: float, info: ValidationInfo) -> float:
        if value < shortest:
            refuse_newly(info, f"too short; write {minimum} or more")
        if value > longest:
            refuse_newly(info, f"too long; write {maximum} or less")
        return value

    return AfterValidator(check)


def between(minimum: int, maximum: int, unit: str = "") -> AfterValidator:
    """Return a validator of whole numbers in a range; an accepted larger one is cut to a thousand times the maximum."""

    def check(value: int, info: ValidationInfo) -> int:
        if value < minimum:
            refuse_newly(info, f"too small; write {minimum}{unit} or more")
        if value > maximum:
            refuse_newly(info, f"too large; write {maximum}{unit} or less")
        return min(value, maximum * 1000)

    return AfterValidator(check)


# ---------------------------------------------------------------- addresses

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LOOK_ALIKES = str.maketrans({"O": "0", "o": "0", "l": "1", "I": "1", ",": "."})
_SUCH_AS = "such as 192.168.1.201"


def decimal_reading(host: str) -> str | None:
    """Return the IPv4 address of four decimal numbers: ``192.168.001.010`` is 192.168.1.10.

    Commas count as dots, and the letters O, l and I as the digits that they resemble. None where it is no address.
    """
    parts = host.strip().translate(_LOOK_ALIKES).split(".")
    if len(parts) != 4 or not all(re.fullmatch(r"[0-9]{1,6}", part) and int(part) < 256 for part in parts):
        return None
    return ".".join(str(int(part)) for part in parts)


def host_fault(host: str) -> str | None:
    """Return why ``host`` is neither four decimal numbers nor a host name, and what to write; None where it is one.

    The C library reads ``010`` as octal, ``0x10`` as hexadecimal and ``192.168.201`` as 192.168.0.201: it would connect
    to another machine than the intended one.
    """
    decimal = decimal_reading(host)
    if decimal == host:
        return None
    if decimal is not None:
        zeros = re.fullmatch(r"[0-9.]+", host) is not None
        why = "its numbers have leading zeros, which make them octal" if zeros else "not an address as it stands"
        return f"{why}; write {decimal}"
    labels = host.removesuffix(".").split(".")
    numbers = sum(bool(re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", label)) for label in labels)
    if re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", labels[-1]) or (numbers >= 3 and len(labels) == 4):
        return f"not an address; write four numbers of 0 to 255 with dots between them, {_SUCH_AS}"
    if not _NAME.fullmatch(host) or len(host) > 253:
        return f"not an address; write four numbers with dots between them, {_SUCH_AS}, or a host name"
    return None


def address_fault(address: str) -> str | None:
    """Return the fault of ``host`` or ``host:port`` of a terminal, and what to write; None where it has none."""
    if match := _SCHEME.match(address):
        rest = re.split(r"[/:]", address[match.end() :], maxsplit=1)[0]
        better = decimal_reading(rest)
        return f"an address of a web page; write the terminal's address alone, {better or _SUCH_AS}"
    if address.count(":") > 1 or "[" in address:
        return f"an IPv6 address, which terminals do not have; write the terminal's IPv4 address, {_SUCH_AS}"
    host, _, port = address.partition(":")
    if "/" in host or "/" in port:
        return f"an address without the slash and what follows it is needed; write it alone, {_SUCH_AS}"
    if fault := host_fault(host):
        return fault
    if decimal_reading(host) == host:
        number = IPv4Address(host)
        if number.is_unspecified or number.is_multicast or number == IPv4Address(0xFFFFFFFF):
            return f"an address that no terminal can have; write the one in the terminal's menu, {_SUCH_AS}"
    return None


def checked_address(split: Callable[[str], Any], address: str, info: ValidationInfo) -> str:
    """Return ``address`` without surrounding blanks; ValueError where ``split`` refuses it or it has another fault."""
    address = address.strip()
    fault = address_fault(address)
    try:
        split(address)
    except ValueError:
        if fault is None:
            raise
        raise ValueError(fault) from None
    if fault is not None:
        refuse_newly(info, fault)
    return address


def same_address(address: str, default_port: int) -> str:
    """Return the normal form of ``host`` or ``host:port``, for comparison."""
    host, _, port = address.strip().lower().partition(":")
    number = int(port) if re.fullmatch(r"[0-9]{1,9}", port) else port or default_port
    return f"{decimal_reading(host) or host.removesuffix('.')}:{number}"
