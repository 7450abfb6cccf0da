"""Status of the connection to the broker, as data: what works, and what prevents the rest. Plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """Whether the broker is connected, and which messages it does not accept."""

    connected: bool = False
    cause: str | None = None
    """Why it is not connected: a key of :data:`gateway.advice.BROKER_FINDINGS`; None before the first attempt."""
    reason: str | None = None
    """The same in technical English, as in the log."""
    unsubscribed: list[str] = field(default_factory=list)
    """Topics without a subscriber; their messages wait."""
    refused: dict[str, int] = field(default_factory=dict)
    """Topic whose messages the broker refuses → MQTT reason code; they wait."""
    subscriptions_refused: list[str] = field(default_factory=list)
    """Topics that this gateway may not subscribe to."""

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> Self:
        """Read it from the data of the control command ``status``; a gateway of before has none of its own there."""
        return cls(**status.get("broker_status", {}))

    @property
    def hindered(self) -> bool:
        """Whether the broker is connected and does not accept everything."""
        return self.connected and bool(self.unsubscribed or self.refused or self.subscriptions_refused)

    def data(self) -> dict[str, Any]:
        """Return it for the control socket."""
        return asdict(self)

    def held(self) -> list[str]:
        """Return what the broker does not accept, in technical English."""
        return [
            *(f"no client subscribes to {topic}" for topic in self.unsubscribed),
            *(f"{topic} is refused (reason {code:#04x})" for topic, code in self.refused.items()),
            *(f"the subscription to {topic} is refused" for topic in self.subscriptions_refused),
        ]

    def text(self) -> str:
        """Return it in technical English, on one line."""
        if not self.connected:
            return f"not connected: {self.reason}" if self.reason else "not connected yet"
        return "; ".join(["connected", *self.held()])
