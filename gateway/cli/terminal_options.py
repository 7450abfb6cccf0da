"""Options and arguments of commands about terminals, and durations as people type them."""

from pathlib import Path
from typing import Annotated

import typer

from drivers.textfile import TextFileError, read_comm_key
from drivers.values import MAX_DURATION_S, parse_duration


def duration(text: str) -> float:
    """Return the seconds of a duration such as ``20s`` or ``5m``; BadParameter where it is not a positive duration."""
    try:
        seconds = parse_duration(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is {exc}.") from None
    if not isinstance(seconds, float) or seconds <= 0:
        raise typer.BadParameter(f"{text!r} is too short; write more than 0s.")
    if seconds > MAX_DURATION_S:
        raise typer.BadParameter(f"{text!r} is too long; write 366d or less.")
    return seconds


def signed_duration(text: str | float) -> float:
    """Return the seconds of a signed duration such as ``+7m`` or ``-30s``."""
    if isinstance(text, float):  # the default
        return text
    return (-1.0 if text.startswith("-") else 1.0) * duration(text.removeprefix("-").removeprefix("+"))


def _comm_key(path: Path | None) -> Path | None:
    if path is not None:
        try:
            read_comm_key(path)
        except OSError as exc:
            raise typer.BadParameter(f"{path} cannot be read ({exc.strerror}).") from None
        except TextFileError as exc:
            raise typer.BadParameter(f"{path}: {exc}.") from None
    return path


Address = Annotated[
    str,
    typer.Argument(metavar="ADDRESS|NAME", help="IP address or host name, with :port if it is not 4370; for --driver "
                   "anviz a serial port such as /dev/ttyUSB0, or tcp://host; or a name from the configuration, whose "
                   "options are then used."),
]  # fmt: skip
DriverName = Annotated[str, typer.Option("--driver", metavar="NAME", help="The family of terminals.")]
Udp = Annotated[bool, typer.Option("--udp", help="Speak UDP instead of TCP.")]
CommKey = Annotated[
    Path | None,
    typer.Option(metavar="FILE", callback=_comm_key, help="A file that holds the terminal's communication key."),
]
Timeout = Annotated[
    float | None,
    typer.Option(parser=duration, metavar="DURATION", help="How long to wait for one answer; 10s by default."),
]
