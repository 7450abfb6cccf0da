"""Untrusted texts that commands print."""

from drivers import safe_files


def printable(text: object) -> str:
    """Return an untrusted text with unprintable characters replaced; see :func:`drivers.safe_files.printable`."""
    return safe_files.printable(str(text))
