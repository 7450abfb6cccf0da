"""Terminals that send each punch as a line of text, over a serial line or through a converter on the network."""

from drivers.line.terminal import DRIVER

__all__ = ["DRIVER"]
