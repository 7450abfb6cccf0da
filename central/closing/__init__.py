"""The end of a period: a unit's period is closed once, and later knowledge becomes adjustments of the next one."""
