"""The details of an error, which HADIR_DEBUG prints."""

from gateway.cli.base import print_stderr
from gateway.trace import as_text


def print_details(exc: BaseException) -> None:
    """Print an exception without personal data, and the last packets of a terminal, if it has them."""
    print_stderr(as_text(exc))
    if capture := getattr(exc, "capture", None):
        print_stderr(f"The last packets:\n{capture}")
