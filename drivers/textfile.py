"""Text files written by people: one way to read passwords, keys, tokens and configurations.

An editor on Windows adds a byte order mark and CR LF, a shell adds a line end, a paste adds two. They do not belong
to the text, and all programs must agree on that: a password that the check reads in one way and the login in another
is always refused.
"""

import errno
import os
import re
import stat
from pathlib import Path

MAX_TEXT = 1 << 20
"""Maximum size in bytes of a text file written by a person."""
MAX_SECRET = 1 << 16


class TextFileError(ValueError):
    """The content of a file is not valid; the message states the fault and the remedy, never the content."""

    def __init__(self, message: str, before: str = "", *, accepted_before: bool = False) -> None:
        super().__init__(message)
        self.accepted_before = accepted_before
        """Versions up to 0.1 accepted this content as a secret."""
        self.before = before
        """The text before the fault, where the fault has a position."""


def read_text(path: Path, limit: int = MAX_TEXT) -> str:
    """Read a text file of at most ``limit`` bytes, without a byte order mark; line ends stay unchanged.

    Raises TextFileError for anything that is not UTF-8 text without NULs, OSError where the file cannot be read.
    """
    descriptor = os.open(
        path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    )  # opening a pipe without a writer would block
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise TextFileError("not a regular file; write the text into a file, for it is read again later")
        raw = file.read(limit + 1)
    return decode(raw, limit)


def decode(raw: bytes, limit: int = MAX_TEXT) -> str:
    """Return the text in ``raw``, by the rules of :func:`read_text`."""
    if len(raw) > limit:
        raise TextFileError(
            f"larger than {limit // 1024} KiB; this is another file than is meant here", accepted_before=True
        )
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TextFileError("not UTF-8 text but UTF-16, which some editors call Unicode; save the file as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()  # the codec counts from the end of a byte order mark
        raise TextFileError("not UTF-8 text; save the file as UTF-8", before) from None
    nul = text.find("\0")
    if nul >= 0:
        message = "has a NUL character, which no text has; write the file again with a text editor"
        raise TextFileError(message, text[:nul], accepted_before=True)
    return text


def read_secret(path: Path) -> str:
    """Read the single line of a file with a secret, without its line ends; blanks are kept.

    Raises TextFileError for no line or several, OSError where the file cannot be read.
    """
    return secret_in(read_text(path, MAX_SECRET))


def read_token(path: Path) -> str:
    """Read a secret that programs share: 16 or more printable characters without blanks. Raises as read_secret does."""
    secret = read_secret(path)
    if not re.fullmatch(r"[!-~]{16,}", secret):
        raise TextFileError(
            "the file holds no token; write 16 or more letters and digits without blanks in it, such as those of "
            "openssl rand -hex 16"
        )
    return secret


def secret_in(text: str) -> str:
    """Return the secret in a text, by the rules of :func:`read_secret`."""
    secret = text.rstrip("\r\n")
    if not secret:
        raise TextFileError("the file is empty; write the secret in it")
    if "\n" in secret or "\r" in secret:
        raise TextFileError(
            "the file has several lines; write the secret in one line, and nothing else", accepted_before=True
        )
    return secret


def secret_warning(secret: str) -> str | None:
    """Return a warning about characters in a secret that are probably unintended; None where it has none."""
    if secret != secret.strip():
        return "the secret begins or ends with a blank; remove it"
    if not secret.isprintable():
        return "the secret has an invisible character, such as a tab; write it again, without copying it from elsewhere"
    return None


def read_comm_key(path: Path) -> int:
    """Read a terminal's communication key, 0 to 999999; surrounding blanks are ignored. Raises as read_secret does."""
    text = read_secret(path).strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise TextFileError("the file holds no communication key; write a number from 0 to 999999 in it")
    return int(text)
