"""The one reader of text and secret files: what editors, shells and pastes put around a secret is not part of it."""

import os
from pathlib import Path

import pytest

from drivers.textfile import MAX_SECRET, TextFileError, decode, read_comm_key, read_secret, read_text, secret_warning


def written(folder: Path, content: bytes) -> Path:
    """Write a file."""
    file = folder / "secret"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    "content",
    [b"hunter2", b"hunter2\n", b"hunter2\r\n", b"hunter2\n\n", b"\xef\xbb\xbfhunter2\r\n\r\n", b"hunter2\r"],
    ids=["bare", "lf", "crlf", "two", "bom", "cr"],
)
def test_line_ends_and_a_byte_order_mark_are_no_part_of_a_secret(tmp_path: Path, content: bytes) -> None:
    """T3: whatever program wrote the file, the login uses what was meant."""
    assert read_secret(written(tmp_path, content)) == "hunter2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf\r\n", "the file is empty"),
        (b"hunter2\nuser: gw\n", "the file has several lines"),
        (b"hun\0ter2\n", "has a NUL character"),
        ("hunter2".encode("utf-16"), "UTF-16"),
        (b"hunter\xff", "not UTF-8 text"),
        (b"a" * (MAX_SECRET + 1), "larger than 64 KiB"),
    ],
    ids=["empty", "only-bom", "lines", "nul", "utf16", "latin", "large"],
)
def test_what_is_no_secret_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    """And the message holds nothing of what the file holds."""
    with pytest.raises(TextFileError, match=message) as caught:
        read_secret(written(tmp_path, content))
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["bare", "bom"])
def test_the_text_before_a_fault_does_not_count_the_byte_order_mark(mark: bytes) -> None:
    """Also where the fault lies within three bytes of a character that has several."""
    with pytest.raises(TextFileError, match="not UTF-8") as caught:
        decode(mark + "éaa".encode() + b"\xff")
    assert caught.value.before == "éaa"


@pytest.mark.parametrize("secret", ["hunter2 ", "\u00a0hunter2", "hun\tter2", "hunter2\u200b"])
def test_blanks_are_kept_and_doubted(tmp_path: Path, secret: str) -> None:
    """A password may have them, and hardly any has."""
    assert read_secret(written(tmp_path, secret.encode())) == secret
    assert secret_warning(secret) is not None
    assert secret_warning("correct horse") is None


def test_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """It would be empty at the second login; a folder is an error of the system's own."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TextFileError, match="not a regular file"):
        read_text(tmp_path / "pipe")
    with pytest.raises(IsADirectoryError):
        read_text(tmp_path)


@pytest.mark.parametrize(("content", "key"), [(b"123456", 123456), (b"\xef\xbb\xbf 007 \r\n\r\n", 7)])
def test_comm_key(tmp_path: Path, content: bytes, key: int) -> None:
    """The same rules; blanks around a number cannot be meant."""
    assert read_comm_key(written(tmp_path, content)) == key


@pytest.mark.parametrize("content", [b"1234567", b"-1", "٣".encode(), b"12 34", b"1\n2"])
def test_no_comm_key(tmp_path: Path, content: bytes) -> None:
    """Nothing but digits of ASCII, six at most."""
    with pytest.raises(TextFileError):
        read_comm_key(written(tmp_path, content))
