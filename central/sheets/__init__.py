"""Sheets of a unit's period, as personnel offices print and file them: built here, written as XLSX, CSV or HTML."""
