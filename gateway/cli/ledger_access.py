"""The ledger, as commands reach it: through the running daemon, else directly, else not at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from gateway.cli.base import Code, Failure
from gateway.cli.daemon import data_from_daemon
from gateway.control import TIMEOUT_S
from gateway.ledger import FILE_NAME, Ledger, LedgerError, LedgerLocked, LedgerNotPermitted, LedgerReader, opened
from gateway.settings import Settings


def ledger_failure(exc: LedgerError, hint: str = "ledger") -> Failure:
    """Return the failure for a ledger that cannot be used; ``hint`` where that is not for want of a permission."""
    is_denied = isinstance(exc, LedgerNotPermitted) or isinstance(exc.__cause__, PermissionError)
    return Failure(Code.DISK, str(exc), "permission" if is_denied else hint)


@contextmanager
def open_ledger(data_dir: Path) -> Iterator[LedgerReader]:
    """Open the ledger for reading; a daemon may be writing to it at the same time."""
    try:
        hint = "ledger" if (data_dir / FILE_NAME).exists() else "no_ledger"
        ledger = LedgerReader(data_dir)
        try:
            yield ledger
        finally:
            ledger.close()
    except PermissionError as exc:
        raise Failure(Code.DISK, f"{data_dir}: {exc.strerror}", "permission") from exc
    except LedgerError as exc:
        raise ledger_failure(exc, hint) from exc


def read_summary(data_dir: Path, days: int, since: date) -> dict[str, Any]:
    """Return the ledger's :func:`gateway.ledger_summary.summary`; raises Failure where it cannot be read."""
    with open_ledger(data_dir) as ledger:
        return ledger.summary(days, since)


def in_daemon_or_ledger(
    settings: Settings,
    command: str,
    in_ledger: Callable[[Ledger], dict[str, Any]],
    *,
    refused: Callable[[str], Exception],
    timeout_s: float = TIMEOUT_S,
    **arguments: object,
) -> dict[str, Any]:
    """Return the result of a command of the running daemon, or of ``in_ledger`` where none runs.

    ``refused`` as in :func:`gateway.cli.daemon.data_from_daemon`.
    """
    data = data_from_daemon(settings.data_dir, command, refused=refused, timeout_s=timeout_s, **arguments)
    if data is not None:
        return data
    if not (settings.data_dir / FILE_NAME).exists():
        raise Failure(Code.DISK, f"{settings.data_dir / FILE_NAME}: there is no ledger here yet", "no_ledger")
    with write_ledger(settings) as ledger:
        return in_ledger(ledger)


@contextmanager
def write_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger for writing, where no daemon answers; a daemon that does not answer keeps it locked."""
    try:
        with opened(settings.data_dir, settings.source) as ledger:
            yield ledger
    except LedgerLocked as exc:
        what = f"{settings.data_dir}: the gateway that has the ledger did not answer"
        raise Failure(Code.LOCKED, what, "busy") from exc
    except LedgerError as exc:
        raise ledger_failure(exc) from exc
