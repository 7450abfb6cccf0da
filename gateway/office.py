"""The parts of the configuration that `hadir status` shows, from the running gateway.

Reading and checking a configuration takes several times as long as everything else in that command. A gateway that has
read the same file has done both. This module imports nothing heavy; what it finds in a file by itself is only where to
look for that gateway.
"""

import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

from gateway.control import Done, ask

DEFAULT_DATA_DIR = Path("/var/lib/hadir")
MAX_TEXT = 1 << 20
"""As :data:`drivers.textfile.MAX_TEXT`."""
_DATA_DIR = re.compile(r"""data_dir: +(["']?)([\w./-]+)\1 *(?:#.*)?""")


class Office(NamedTuple):
    """What is shown of a configuration."""

    site: str
    gateway: str
    timezone: str
    data_dir: Path
    broker: str
    """The broker's address."""
    tolerances: Mapping[str, float]
    """Terminal → offset of its clock, in seconds, from which punches are marked."""

    def data(self, digest: str) -> dict[str, object]:
        """Return it for the control socket; ``digest``: that of the file it was read from, see :func:`digest_of`."""
        return {**self._asdict(), "data_dir": str(self.data_dir), "digest": digest}

    @classmethod
    def of(cls, data: Mapping[str, object]) -> Self:
        """Return the office of :meth:`data`."""
        fields = {name: data[name] for name in cls._fields}
        return cls(**{**fields, "data_dir": Path(str(data["data_dir"]))})  # type: ignore[arg-type]  # from our own JSON


def digest_of(text: str) -> str:
    """Return the SHA-256 of a configuration's text without byte order mark, in hexadecimal."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_text(config: Path) -> str | None:
    """Return the text of a configuration; None where it is no file, since reading a pipe would take its text away."""
    if not config.is_file():
        return None
    with config.open("rb") as file:
        return file.read(MAX_TEXT).decode("utf-8-sig")


def running_office(config: Path) -> Office | None:
    """Return the office of the gateway that runs with exactly the text of ``config``; None where none is found."""
    try:
        text = read_text(config)
        data_dir = None if text is None else _data_dir(text)
        if text is None or data_dir is None:
            return None
        answer = ask(Path(os.path.abspath(config.absolute().parent / data_dir)), "office")  # noqa: PTH100 - as the settings do
        if isinstance(answer, Done) and answer.data["digest"] == digest_of(text):
            return Office.of(answer.data)
    except (OSError, ValueError, LookupError):
        pass  # the modules that check a configuration report what is wrong with it
    return None


def _data_dir(text: str) -> Path | None:
    """Return the value of ``data_dir``; None where it is not written in the simplest way."""
    lines = [line.rstrip() for line in text.splitlines() if "data_dir" in line.partition("#")[0]]
    if not lines:
        return DEFAULT_DATA_DIR
    found = _DATA_DIR.fullmatch(lines[0])
    return Path(found[2]) if found and len(lines) == 1 else None
