"""Requests to a running gateway, for tests that need its data and nothing else."""

from pathlib import Path
from typing import Any

from gateway import control
from gateway.control import Done, Failed


def ask(data_dir: Path, command: str, *, timeout_s: float = control.TIMEOUT_S, **arguments: object) -> Any:
    """Return the data of an executed command; None where no gateway runs. A failed command fails the test."""
    answer = control.ask(data_dir, command, timeout_s=timeout_s, **arguments)
    assert not isinstance(answer, Failed), answer
    return answer.data if isinstance(answer, Done) else None
