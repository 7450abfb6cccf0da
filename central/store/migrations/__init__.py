"""Migrations of the centre's database; see :mod:`central.store.engine`."""
