"""Requests to the running gateway, with its failures as failures of the command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from gateway.cli.base import Code, Failure
from gateway.control import TIMEOUT_S, Done, Failed, ask

_FAILURES = {
    "failed": (Code.INTERNAL, "incomplete"),
    "unknown_command": (Code.LOCKED, "other_version"),
    "timed_out": (Code.LOCKED, "busy"),
    "ledger_failed": (Code.DISK, "ledger"),
    "disk_full": (Code.DISK, "ledger"),
    "not_permitted": (Code.DISK, "permission"),
}
"""Code of :class:`gateway.control.Failed` → exit code and hint."""


def failure_of(failed: Failed) -> Failure:
    """Return the failure for a valid request that a running gateway did not execute."""
    code, hint = _FAILURES[failed.code]
    return Failure(code, failed.message, hint)


def wrong_usage(message: str) -> Exception:
    """Return the error for a refused request that the command line's options ask for."""
    return typer.BadParameter(f"{message}.")


def data_from_daemon(
    data_dir: Path,
    command: str,
    *,
    refused: Callable[[str], Exception] = wrong_usage,
    timeout_s: float = TIMEOUT_S,
    **arguments: object,
) -> dict[str, Any] | None:
    """Return the data of a command that the gateway executed; None where no gateway runs.

    Raises what ``refused`` makes of the message of a refusal, and Failure for anything else.
    """
    answer = ask(data_dir, command, timeout_s=timeout_s, **arguments)
    if isinstance(answer, Failed):
        raise refused(answer.message) if answer.is_refusal else failure_of(answer)
    return answer.data if isinstance(answer, Done) else None


def not_running(data_dir: Path) -> Failure:
    """Return the failure of a command that needs a running gateway."""
    return Failure(Code.NOT_RUNNING, f"no gateway is running with {data_dir}", "not_running")
