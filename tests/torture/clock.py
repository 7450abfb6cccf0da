"""The wall clock of a program, set wrong and right while it runs, without privileges; see `clock.c`."""

import struct
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """A program's wall clock, right at first; clocks that only go forward are not touched."""

    def __init__(self, file: Path, library: Path) -> None:
        self._file = file
        self._file.write_bytes(struct.pack("d", 0.0))
        self._file.chmod(0o644)  # a server runs as another user
        self._library = library

    @property
    def environment(self) -> dict[str, str]:
        """What the program needs in its environment."""
        return {"LD_PRELOAD": str(self._library), "CLOCK": str(self._file)}

    def set(self, off_s: float) -> None:
        """Let it be so many seconds ahead (behind: negative) of the machine's, at once."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("d", off_s))
