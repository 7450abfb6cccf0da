"""Drivers: the protocols of terminals. Nothing in this package imports the gateway.

:data:`DRIVERS` lists the drivers of this package and those that other installed packages register under the
entry-point group ``hadir.drivers``; :data:`UNUSABLE` lists those that are left out, with the reason.
"""

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from drivers.anviz.terminal import DRIVER as ANVIZ
from drivers.attlog import DRIVER as ATTLOG
from drivers.base import (
    Delivering,
    DiscoveredTerminal,
    Driver,
    DriverError,
    DriverOptions,
    Logged,
    Removable,
    Search,
    Terminal,
    TerminalRefused,
    TerminalUnavailable,
)
from drivers.line import DRIVER as LINE
from drivers.push.terminal import DRIVER as PUSH
from drivers.soap import DRIVER as SOAP
from drivers.webhook.terminal import DRIVER as WEBHOOK
from drivers.zkteco import DRIVER as ZKTECO

GROUP = "hadir.drivers"
OWN = {driver.name: driver for driver in (ANVIZ, ATTLOG, LINE, PUSH, SOAP, WEBHOOK, ZKTECO)}

FORMER_NAMES = {
    "Acknowledging": "Delivering",
    "Exporting": "Removable",
    "asked_at": "clock_read_at",
    "lasting": "duration_between",
    "secret_doubt": "secret_warning",
}
"""Names of the drivers' interface in earlier versions → their present names, for the messages about a driver."""
_CAPABILITIES = {"sizes": Logged, "present": Removable}
"""Method that only one capability has → the capability; a terminal without its other methods would not have it."""
_FORMER_METHODS = {
    "acknowledge": "deliveries() yields the records that are marked new, and settling them takes the marks away",
    "exports": "deliveries() yields the files, and settling one writes the report beside it",
}
"""Method that the gateway called in earlier versions → what takes its place."""


class Unusable(NamedTuple):
    """A driver that another package registers and that is left out."""

    name: str
    package: str
    reason: str

    def __str__(self) -> str:
        return f"the driver {self.name!r} of the package {self.package} is not used: {self.reason}"


def load_drivers(points: Iterable[EntryPoint]) -> tuple[dict[str, Driver], list[Unusable]]:
    """Return the built-in and external drivers by name, and the external drivers that are left out.

    A package that fails on import does not affect other drivers. No package can replace a built-in driver, and if two
    packages register one name, neither is used: a driver decides to which person a punch belongs.
    """
    points = list(points)
    wanted = Counter(point.name for point in points)
    drivers = dict(OWN)
    unusable = []
    for point in points:
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
        if point.name in OWN:
            reason = "Hadir has a driver of that name itself; the package must call its driver something else"
        elif wanted[point.name] > 1:
            reason = "another package has a driver of the same name; uninstall one of them"
        else:
            loaded = _loaded(point)
            if isinstance(loaded, Driver):
                drivers[point.name] = _guarded(loaded, package)
                continue
            reason = loaded
        unusable.append(Unusable(point.name, package, reason))
    return drivers, unusable


def _loaded(point: EntryPoint) -> Driver | str:
    try:
        driver = point.load()
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - an external module may raise anything
        return f"{point.value} cannot be imported ({_described(exc)})"
    if not isinstance(driver, Driver):
        return f"{point.value} is no drivers.base.Driver"
    if not (isinstance(driver.options, type) and issubclass(driver.options, DriverOptions)):
        return f"the options of {point.value} are no child of drivers.base.DriverOptions"
    return driver if driver.name == point.name else f"{point.value} calls itself {driver.name!r}"


def _described(exc: BaseException) -> str:
    """Return an error of a driver as text, with the present names of what it refers to by a former name."""
    text = f"{type(exc).__name__}: {exc}"
    return "; ".join((text, *(f"{old} is {new} now" for old, new in FORMER_NAMES.items() if f"'{old}'" in text)))


def _out_of_date(terminal: object) -> str | None:
    """Return what a terminal has in place of the present interface; None where it follows that."""
    if not isinstance(terminal, Delivering):
        for method, successor in _FORMER_METHODS.items():
            if hasattr(terminal, method):
                return f"{method}, which is not called any more: {successor}"
        if not hasattr(terminal, "sizes") and hasattr(terminal, "events"):
            return "events, but no log that confirms them: deliveries() yields such records, each to be settled"
    for method, capability in _CAPABILITIES.items():
        missing = [name for name in dir(capability) if name[0] != "_" and not hasattr(terminal, name)]
        if hasattr(terminal, method) and missing:
            return f"{method}, but not {', '.join(missing)}"
    return None


def _guarded(driver: Driver, package: str) -> Driver:
    """Return a driver of another package whose defects are clear messages about that package."""
    title = f"the driver {driver.name!r} of the package {package}"

    @contextmanager
    def connect(options: Any) -> Iterator[Terminal]:
        with driver.connect(options) as terminal:
            if (mistake := _out_of_date(terminal)) is not None:
                raise TerminalRefused(f"{title} must be updated: its terminals have {mistake}")
            yield terminal

    def discover(search: Search) -> Generator[DiscoveredTerminal | None, None, None]:
        assert driver.discover is not None  # noqa: S101 - else the driver has no discovery
        try:
            with closing(driver.discover(search)) as found:
                yield from found
        except DriverError:
            raise
        except Exception as exc:  # an external module may raise anything
            raise TerminalUnavailable(f"{title} failed: {_described(exc)}") from exc

    return replace(driver, connect=connect, discover=discover if driver.discover else None)


DRIVERS, UNUSABLE = load_drivers(entry_points(group=GROUP))


def no_such_driver(name: str) -> str:
    """Return the error message for an unknown driver name: the known names, and why this one is left out."""
    left_out = "".join(f" ({driver})" for driver in UNUSABLE if driver.name == name)
    return f"no such driver; write {' or '.join(sorted(DRIVERS))}{left_out}"
