"""Measurements of the gateway against a named baseline, on this machine. See README.md in this folder."""
