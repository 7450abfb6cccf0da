"""Export files that terminals write to a flash disk, read as if they were terminals."""

from drivers.attlog.terminal import DRIVER

__all__ = ["DRIVER"]
