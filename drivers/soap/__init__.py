"""Solution and ZKTeco terminals whose log is read over their web service, ``/iWsService``."""

from drivers.soap.terminal import DRIVER

__all__ = ["DRIVER"]
