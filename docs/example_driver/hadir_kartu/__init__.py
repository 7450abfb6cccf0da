"""Kartu card terminals: an invented family, and a driver for it that is whole."""
