"""Options of terminals that call this computer; their drivers derive from them."""

from ipaddress import ip_network
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from drivers.base import DriverOptions
from drivers.receiver.registry import Expected, Key


def _network(value: str) -> str:
    for part in value.split(","):
        try:
            ip_network(part.strip(), strict=False)
        except ValueError:
            raise ValueError(
                "not an address or network; write one such as 192.168.1.201 or 192.168.1.0/24, several with commas"
            ) from None
    return value


class CallerOptions(DriverOptions):
    """Options of a terminal that calls the receiver."""

    takes_time: ClassVar[bool] = True
    """Whether it may set its clock by the answers."""
    from_: Annotated[str, AfterValidator(_network)] | None = Field(default=None, alias="from")
    """Address or network that its calls come from; null: any address."""

    def key(self) -> Key:
        """Return what its calls are known by; no two entries share one."""
        raise NotImplementedError

    def expected(self) -> Expected:
        """Return what the receiver has to know of it."""
        parts = self.from_.split(",") if self.from_ else ()
        return Expected(self.name, tuple(ip_network(part.strip(), strict=False) for part in parts))

    def place(self) -> None:
        """Return None: it has no place that this computer connects to."""
        return
