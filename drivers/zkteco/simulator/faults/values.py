"""Values of faults as people type them: parsers that raise ValueError with a sentence for the person."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from drivers.values import parse_duration
from drivers.zkteco import wire
from drivers.zkteco.wire import Packet


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a fault: ``meaning`` with its unit, and the ``default`` as typed."""

    meaning: str
    default: str
    parse: Callable[[str], Any]


class Stage(NamedTuple):
    """A place in a conversation: the answer to a command, ``after`` so many of its bytes."""

    name: str
    after: int

    def matches(self, request: Packet | None) -> bool:
        """Return whether this is the answer to ``request``; None stands for an event."""
        if self.name == "any":
            return True
        return self.name == "event" if request is None else STAGES.get(self.name) == request.command


MAX_SHIFT_S = 50 * 366 * 86400.0

STAGES = {
    "connect": wire.CMD_CONNECT,
    "key": wire.CMD_AUTH,
    "enable": wire.CMD_ENABLEDEVICE,
    "option": wire.CMD_OPTIONS_RRQ,
    "clock": wire.CMD_GET_TIME,
    "count": wire.CMD_GET_FREE_SIZES,
    "listen": wire.CMD_REG_EVENT,
    "prepare": wire.CMD_PREPARE_BUFFER,
    "read": wire.CMD_READ_BUFFER,
    "direct": wire.CMD_ATTLOG_RRQ,
    "free": wire.CMD_FREE_DATA,
    "exit": wire.CMD_EXIT,
}


def stage(text: str) -> Stage:
    """Return a stage typed as ``NAME`` or ``NAME+BYTES``."""
    name, plus, after = text.partition("+")
    if name not in {"any", "event", *STAGES} or (plus and not after.isdecimal()):
        raise ValueError(f"{text!r} is no stage; write any, event, {', '.join(STAGES)}, and +BYTES to go so far")
    return Stage(name, int(after or 0))


def duration(text: str) -> float:
    """Return a duration."""
    seconds = parse_duration(text)
    assert isinstance(seconds, float)  # noqa: S101 - the result for any text
    return seconds


def shift(text: str) -> timedelta:
    """Return a change of the clock, such as ``+1h``."""
    sign, rest = text[:1], text[1:]
    if sign not in ("+", "-"):
        raise ValueError(f"{text!r} is no change of a clock; write +1h or -30s")
    if (seconds := duration(rest)) > MAX_SHIFT_S:
        raise ValueError("a clock of the years 2000 to 2099 cannot be moved so far")
    return timedelta(seconds=seconds if sign == "+" else -seconds)


def moment(text: str) -> datetime:
    """Return a time that a clock can show."""
    try:
        return require_clock_range(datetime.fromisoformat(text).replace(tzinfo=None))
    except ValueError:
        raise ValueError(f"{text!r} is no time of the years 2000 to 2099; write 2000-01-01T00:00:00") from None


def require_clock_range(moment: datetime) -> datetime:
    """Return ``moment``; ValueError where a clock cannot show it."""
    if not 2000 <= moment.year <= 2099:
        raise ValueError("a terminal's clock knows the years 2000 to 2099")
    return moment


def whole_seconds(text: str) -> float:
    """Return a duration of whole seconds, an hour at most."""
    seconds = duration(text)
    if seconds > 3600 or seconds % 1:
        raise ValueError(f"{text!r} is no number of whole seconds up to an hour")
    return seconds


def up_to(maximum: int, minimum: int = 1) -> Callable[[str], int]:
    """Return a parser of numbers in a range."""

    def parse(text: str) -> int:
        if not text.isdecimal() or len(text) > 12 or not minimum <= int(text) <= maximum:
            raise ValueError(f"{text!r} is no number from {minimum} to {maximum}")
        return int(text)

    return parse


def change(text: str) -> int:
    """Return a signed number."""
    if not re.fullmatch(r"[+-][0-9]{1,9}", text):
        raise ValueError(f"{text!r} is no change; write +1 or -1")
    return int(text)


class NewCount(NamedTuple):
    """A reported count of records: ``number``, or that many more than the true one."""

    relative: bool
    number: int


def new_count(text: str) -> NewCount:
    """Return a number, or a signed difference."""
    if text[:1] in ("+", "-"):
        return NewCount(relative=True, number=change(text))
    return NewCount(relative=False, number=up_to(2**31 - 1, 0)(text))


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a parser of one of some texts."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text

    return parse


def ascii_text(text: str) -> str:
    """Return printable ASCII text."""
    if not text.isascii() or not text.isprintable() or not text.strip():
        raise ValueError(f"{text!r} is no word of printable ASCII characters")
    return text
