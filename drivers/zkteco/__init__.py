"""ZKTeco standalone terminals, and the many brands built on them: the binary protocol of port 4370."""

from drivers.base import Driver
from drivers.zkteco.discovery import discover
from drivers.zkteco.terminal import ZktecoOptions, connect

DRIVER = Driver(name="zkteco", options=ZktecoOptions, connect=connect, discover=discover)
