"""Frames of the protocol TC_B. ``CAPTURED`` were published by users of real terminals, ``GENERATED`` by hand."""

from datetime import datetime

from drivers.anviz.wire import Frame

CAPTURED = {
    "information asked of device 2": ("A500000002300000 2729", Frame(2, 0x30)),
    "record information asked of a device with a long number": ("A500F646EB3C0000 8EE3", Frame(0xF646EB, 0x3C)),
    "information": (
        "A500F646EBB0000012 30352E31382E4131 6F432F 0A 00 02 10 00 00 02 1DAA",
        Frame(0xF646EB, 0xB0, bytes.fromhex("30352E31382E4131 6F432F 0A 00 02 10 00 00 02")),
    ),
}

RECORD = bytes.fromhex("00000003E9 322BDE78 01 80 000000")
"""User 1001 at MOMENT with the epoch that devices have, first finger, in, and the door opened."""
MOMENT = datetime(2026, 9, 4, 7, 30)  # noqa: DTZ001 - a terminal's wall clock

GENERATED = {
    "information": ("A500000001300000EA0C", Frame(1, 0x30)),
    "clock": ("A50000000138000028CA", Frame(1, 0x38)),
    "record information": ("A5000000013C000049A9", Frame(1, 0x3C)),
    "new records": ("A50000000140000202193EC0", Frame(1, 0x40, b"\x02\x19")),
    "all records": ("A500000001400002011956EA", Frame(1, 0x40, b"\x01\x19")),
    "more records": ("A50000000140000200198EF3", Frame(1, 0x40, b"\x00\x19")),
    "the same records again": ("A500000001400002 10191F66", Frame(1, 0x40, b"\x10\x19")),
    "25 marks": ("A5000000014E000402000019CCC3", Frame(1, 0x4E, b"\x02\x00\x00\x19")),
    "device number, of everybody": ("A5000000007400004675", Frame(0, 0x74)),
    "serial": ("A500000001240000 1EEA", Frame(1, 0x24)),
    "one record": (f"A500000001C000000F01{RECORD.hex()}1E3C", Frame(1, 0xC0, b"\x01" + RECORD)),
    "the same, live": (f"A500000001DF00000E{RECORD.hex()}64A5", Frame(1, 0xDF, RECORD)),
    "heartbeat answered": ("A500000001FF00000078C1", Frame(1, 0xFF)),
}

FRAMES = [(bytes.fromhex(text), frame) for text, frame in (*CAPTURED.values(), *GENERATED.values())]
