"""Registers: people, plans, calendar and leave as offices keep them in files, read whole or not at all."""
