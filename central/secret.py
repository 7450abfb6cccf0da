"""Read a password from the file of a person: small, regular, text, one line."""

import os
import stat
from pathlib import Path

MAX_BYTES = 4096


class SecretError(ValueError):
    """The file does not hold a password; the message says why and what to do, and repeats nothing of it."""


def read_secret(path: Path) -> str:
    """Return the one line of a file, without a byte order mark and its line ends; raises OSError or SecretError.

    Blanks count. Editors on Windows add the mark and CR LF, a paste adds a second line end; none of it was meant.
    """
    descriptor = os.open(
        path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    )  # a pipe nobody writes to would be waited for
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SecretError("not a regular file")
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise SecretError(f"longer than {MAX_BYTES} bytes: another file was meant")
    try:
        secret = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretError("not UTF-8 text; save it as UTF-8") from None
    if not secret:
        raise SecretError("empty; write the password into it")
    if not secret.isprintable():
        raise SecretError("not one line of text; write the password alone into it")
    return secret
