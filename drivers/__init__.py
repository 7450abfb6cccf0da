"""Drivers: what speaks to terminals. Nothing in here imports the gateway.

:data:`DRIVERS` lists the drivers of this package and those that other installed packages register under the
entry-point group ``hadir.drivers``; :data:`UNUSABLE` says which of the latter are left out, and why.
"""

from collections import Counter
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

from drivers.anviz.terminal import DRIVER as ANVIZ
from drivers.attlog import DRIVER as ATTLOG
from drivers.base import Driver, DriverOptions
from drivers.line import DRIVER as LINE
from drivers.zkteco import DRIVER as ZKTECO

GROUP = "hadir.drivers"
OWN = {driver.name: driver for driver in (ANVIZ, ATTLOG, LINE, ZKTECO)}


class Unusable(NamedTuple):
    """A driver that another package registers and that is left out."""

    name: str
    package: str
    reason: str

    def __str__(self) -> str:
        return f"the driver {self.name!r} of the package {self.package} is not used: {self.reason}"


def load_drivers(points: Iterable[EntryPoint]) -> tuple[dict[str, Driver], list[Unusable]]:
    """Return our drivers and those of other packages by name, and what is the matter with those left out.

    Whatever a package does when it is imported, the drivers of the others stay usable. No package can take the place of
    one of ours, and of two packages that want one name neither gets it: a driver decides whose punch a punch is.
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
                drivers[point.name] = loaded
                continue
            reason = loaded
        unusable.append(Unusable(point.name, package, reason))
    return drivers, unusable


def _loaded(point: EntryPoint) -> Driver | str:
    try:
        driver = point.load()
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - anything may happen in somebody else's module
        return f"{point.value} cannot be imported ({type(exc).__name__}: {exc})"
    if not isinstance(driver, Driver):
        return f"{point.value} is no drivers.base.Driver"
    if not (isinstance(driver.options, type) and issubclass(driver.options, DriverOptions)):
        return f"the options of {point.value} are no child of drivers.base.DriverOptions"
    return driver if driver.name == point.name else f"{point.value} calls itself {driver.name!r}"


DRIVERS, UNUSABLE = load_drivers(entry_points(group=GROUP))


def no_such_driver(name: str) -> str:
    """Say that there is no driver of this name, which there are, and whether it is one that is left out."""
    left_out = "".join(f" ({driver})" for driver in UNUSABLE if driver.name == name)
    return f"no such driver; write {' or '.join(sorted(DRIVERS))}{left_out}"
