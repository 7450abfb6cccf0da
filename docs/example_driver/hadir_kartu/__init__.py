"""Kartu card terminals: an invented family with a complete driver."""
