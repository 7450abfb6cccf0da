"""Drivers: what speaks to terminals. Nothing in here imports the gateway.

:data:`DRIVERS` lists the drivers of this package and those that other installed packages register under the
entry-point group ``hadir.drivers``.
"""

from importlib.metadata import entry_points

from drivers.anviz.terminal import DRIVER as ANVIZ
from drivers.attlog import DRIVER as ATTLOG
from drivers.base import Driver
from drivers.line import DRIVER as LINE
from drivers.zkteco import DRIVER as ZKTECO

DRIVERS: dict[str, Driver] = {driver.name: driver for driver in (ANVIZ, ATTLOG, LINE, ZKTECO)}
for _point in entry_points(group="hadir.drivers"):
    DRIVERS.setdefault(_point.name, _point.load())
