"""Drivers: what speaks to terminals. Nothing in here imports the gateway.

:data:`DRIVERS` lists the drivers of this package and those that other installed packages register under the
entry-point group ``hadir.drivers``.
"""

from importlib.metadata import entry_points

from drivers.base import Driver
from drivers.zkteco import DRIVER as ZKTECO

DRIVERS: dict[str, Driver] = {ZKTECO.name: ZKTECO}
for _point in entry_points(group="hadir.drivers"):
    DRIVERS.setdefault(_point.name, _point.load())
