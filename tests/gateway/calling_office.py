"""An office whose terminals and apps call: a receiver on a port of its own, and workers of one crew."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from drivers.receiver.registry import Expected, Key
from gateway.callers import Callers
from gateway.settings import Settings
from gateway.terminal.runner import Crew
from tests.broker import free_port
from tests.gateway import office
from tests.gateway.office import Clock


def settings_with(**receiver: Any) -> Settings:
    """Return settings with a receiver."""
    return Settings.model_validate(
        {
            "site": "office",
            "gateway": "gw",
            "timezone": office.ZONE.key,
            "mqtt": {"url": "mqtt://127.0.0.1"},
            "receiver": receiver or None,
            "terminals": [{"name": "lobby", "driver": "zkteco", "address": "127.0.0.1"}],
        }
    )


@dataclass(kw_only=True)
class CallingOffice(office.Office):
    """An office with a receiver that expects one caller."""

    callers: Callers
    port: int
    """Port of the receiver."""
    crew: Crew = field(default_factory=Crew)

    @property
    def url(self) -> str:
        """Address of the receiver."""
        return f"http://127.0.0.1:{self.port}"

    @classmethod
    @contextmanager
    def receiving(cls, folder: Path, entry: dict[str, object], key: Key, **parts: Any) -> Iterator[Self]:
        """Open an office, and a receiver that expects the caller ``key`` of the terminal of ``entry``."""
        port, alarms, clock = free_port(), list[str](), Clock()
        callers = Callers(clock, lambda code, _message, _terminal: alarms.append(code))
        try:
            callers.open(settings_with(listen=f"127.0.0.1:{port}"))
            callers._registry.expect({key: Expected(str(entry["name"]))})
            parts |= {"entry": entry, "callers": callers, "port": port, "clock": clock, "alarms": alarms}
            with cls.opened(folder, **parts) as opened:
                yield opened
        finally:
            callers.close()

    def worker_parts(self) -> dict[str, Any]:
        """Return the crew and the port that all workers share."""
        return {"crew": self.crew, "port": self.callers.port}
