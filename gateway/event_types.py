"""Types of the events of a gateway's stream; `docs/contract.md` says what each contains.

They are apart from :mod:`gateway.event`, so that the texts of `hadir status` need no driver.
"""

RECORDED = "hadir.punch.recorded.v1"
CONFIRMED = "hadir.punch.confirmed.v1"
UNCONFIRMED = "hadir.punch.unconfirmed.v1"
QUARANTINED = "hadir.record.quarantined.v1"
TERMINAL_LOST = "hadir.terminal.lost.v1"
TERMINAL_FOUND = "hadir.terminal.found.v1"
TERMINAL_CHANGED = "hadir.terminal.changed.v1"
CLOCK_STEPPED = "hadir.clock.stepped.v1"
CLOCK_SET = "hadir.clock.set.v1"
CLOCK_SYNCHRONISED = "hadir.clock.synchronised.v1"
GATEWAY_RESUMED = "hadir.gateway.resumed.v1"
STREAM_OPENED = "hadir.stream.opened.v1"
HISTORY_WITHHELD = "hadir.history.withheld.v1"
BODY_FORGOTTEN = "hadir.body.forgotten.v1"
FILE_IMPORTED = "hadir.file.imported.v1"
