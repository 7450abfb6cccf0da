"""Packets of real terminals, as their owners published them, and a few that were computed.

``zk-protocol`` is adrobinoga's description of the protocol with its traces of a ZEM760 terminal; the others are named
by project and issue. All bytes are facts about devices; no text is repeated here. Captured without the top header
of TCP, or as data alone, where the comment states it.
"""

import struct
from typing import NamedTuple

from drivers.zkteco.wire import TCP_MAGIC, Packet


class Vector(NamedTuple):
    """A packet on a TCP stream and what it states."""

    name: str
    raw: bytes
    packet: Packet


def _vector(name: str, raw: str, packet: Packet) -> Vector:
    return Vector(name, bytes.fromhex(raw), packet)


def _bare(name: str, raw: str, packet: Packet) -> Vector:
    """Make a vector of a packet that was published without its top header."""
    bare = bytes.fromhex(raw)
    return Vector(name, TCP_MAGIC + struct.pack("<I", len(bare)) + bare, packet)


# What a K40 sent as its log without a buffer: 120 bytes that are no records, behind a right prefix.
K40_BODY = bytes.fromhex(
    "40D835802F330100D5DC0100DF230100C9010200CB140100D1260200E50901004B4D0200C3FE0000B173020085F100006D99020047E40000"
    "29BF020061D90000A3E5020019D10000C70C030001CC00005F2C0300D802000018000000160000000A0000009A19000001340300F0020000"
    "4800000000280300"
)

CAPTURED = [
    # zk-protocol
    _vector(
        "Z1 option asked",
        "5050827D 12000000 0B00B9E6F38D0C00 7E506C6174666F726D00",
        Packet(11, 0x8DF3, 12, b"~Platform\0"),
    ),
    _vector(
        "Z2 option answered",
        "5050827D 1D000000 D007714CF38D0C00 7E506C6174666F726D3D5A454D3736305F54465400",
        Packet(2000, 0x8DF3, 12, b"~Platform=ZEM760_TFT\0"),
    ),
    _vector(
        "Z3 option asked",
        "5050827D 11000000 0B0084C2F38D0B00 576F726B436F646500",
        Packet(11, 0x8DF3, 11, b"WorkCode\0"),
    ),
    _vector(
        "Z4 option answered",
        "5050827D 13000000 D007828AF38D0B00 576F726B436F64653D3000",
        Packet(2000, 0x8DF3, 11, b"WorkCode=0\0"),
    ),
    _vector(
        "Z5 option written",
        "5050827D 11000000 0C00EBBB84C54700 4C6F636B4F6E3D3500",
        Packet(12, 0xC584, 0x47, b"LockOn=5\0"),
    ),
    _vector(
        "Z6 option written",
        "5050827D 19000000 0C00602284C54300 416E7469506173736261636B4F6E3D3000",
        Packet(12, 0xC584, 0x43, b"AntiPassbackOn=0\0"),
    ),
    _vector("Z7 state 2 in place of the session", "5050827D 08000000 D007F6F702003700", Packet(2000, 2, 0x37)),
    _vector(
        "Z8 punch as it happens",
        "5050827D 28000000 F401AC1201000000 393939313131333333000000000000000000000000000000 0100 120619112905",
        Packet(500, 1, 0, b"999111333".ljust(24, b"\0") + b"\x01\x00\x12\x06\x19\x11\x29\x05"),
    ),
    _vector("Z9 finger score as it happens", "5050827D 09000000 F401A7FC00010000 64", Packet(500, 256, 0, b"\x64")),
    _vector(
        "Z10 way of verifying written",
        "5050827D 20000000 4F00EA79E7844500 0D008D" + "00" * 21,
        Packet(79, 0x84E7, 0x45, b"\x0d\x00\x8d".ljust(24, b"\0")),
    ),
    _bare(
        "Z11 option asked",
        "0B005A17F38D03005A4B4661636556657273696F6E00",
        Packet(11, 0x8DF3, 3, b"ZKFaceVersion\0"),
    ),
    _bare("Z12 an odd number of bytes", "D007296AF38D0A0009", Packet(2000, 0x8DF3, 10, b"\x09")),
    _vector("Z13 option asked", "5050827D 0C000000 0B0058EFC5C00500 7E4F5300", Packet(11, 0xC0C5, 5, b"~OS\0")),
    # js_zklib issue 53: a K40 whose log was requested without a buffer
    _vector("Z14 CONNECT", "5050827D 08000000 E80316FC00000100", Packet(1000, 0, 1)),
    _vector("Z15 CONNECT answered", "5050827D 08000000 D0078E8CA06B0100", Packet(2000, 0x6BA0, 1)),
    _vector("Z16 log asked without a buffer", "5050827D 08000000 0D005094A06B0200", Packet(13, 0x6BA0, 2)),
    _vector(
        "Z17 transfer announced",
        "5050827D 10000000 DC05158AA06B0200 7C000000 F0030000",
        Packet(1500, 0x6BA0, 2, struct.pack("<II", 124, 1008)),
    ),
    _vector(
        "Z18 data, first of the row",
        "5050827D 84000000 DD05942600000200 78000000" + K40_BODY.hex(),
        Packet(1501, 0, 2, struct.pack("<I", 120) + K40_BODY),
    ),
    _vector("Z19 transfer closed, 124 bytes", "5050827D 08000000 D007B1F77C000200", Packet(2000, 124, 2)),
    _vector("Z20 EXIT", "5050827D 08000000 E9037390A06B0300", Packet(1001, 0x6BA0, 3)),
    _vector("Z20 EXIT answered", "5050827D 08000000 D0078C8CA06B0300", Packet(2000, 0x6BA0, 3)),
    # node-zklib issue 19
    _vector(
        "Z21 transfer announced",
        "5050827D 10000000 DC051BAAB64A0500 54050000 F8FF0000",
        Packet(1500, 0x4AB6, 5, struct.pack("<II", 1364, 65528)),
    ),
    # pyzatt issue 4: a WL10, which puts a number where others put 0
    _vector(
        "Z23 punch as it happens, reply 3",
        "5050827D 28000000 F401ADAD01000300 3232" + "00" * 22 + "0100120C11010411",
        Packet(500, 1, 3, b"22".ljust(24, b"\0") + b"\x01\x00\x12\x0c\x11\x01\x04\x11"),
    ),
    # pyzk issue 41
    _vector("Z33 EXIT answered", "5050827D 08000000 D007CE7A3D7D2400", Packet(2000, 0x7D3D, 36)),
]

COMPUTED = [
    _vector("CONNECT", "5050827D08000000E80317FC00000000", Packet(1000, 0, 0)),
    _vector(
        "AUTH with key 0",
        "5050827D0C0000004E047D00A06B0100617D3212",
        Packet(1102, 0x6BA0, 1, bytes.fromhex("617D3212")),
    ),
    _vector(
        "log prepared",
        "5050827D13000000DF057C81A06B0300010D000000000000000000",
        Packet(1503, 0x6BA0, 3, struct.pack("<BHii", 1, 13, 0, 0)),
    ),
    _vector(
        "users prepared",
        "5050827D13000000DF057C80A06B03000109000500000000000000",
        Packet(1503, 0x6BA0, 3, struct.pack("<BHii", 1, 9, 5, 0)),
    ),
    _vector(
        "September 2026 prepared",
        "5050827D13000000DF052227A06B030001142700201633FFAC3D33",
        Packet(1503, 0x6BA0, 3, struct.pack("<BHII", 1, 10004, 0x33162000, 0x333DACFF)),
    ),
    _vector(
        "41,004 bytes ready",
        "5050827D15000000D0074C33A06B0300002CA000002CA0000000000000",
        Packet(2000, 0x6BA0, 3, struct.pack("<BIII", 0, 41004, 41004, 0)),
    ),
    _vector(
        "last 25 of 1,025 asked",
        "5050827D10000000E0054EEEA06B0400449C0000E8030000",
        Packet(1504, 0x6BA0, 4, struct.pack("<ii", 40004, 1000)),
    ),
    _vector(
        "1,000 bytes announced",
        "5050827D10000000DC059E8AA06B0400E8030000F8FF0000",
        Packet(1500, 0x6BA0, 4, struct.pack("<II", 1000, 65528)),
    ),
    _vector(
        "events asked",
        "5050827D0C000000F4016592A06B050001000000",
        Packet(500, 0x6BA0, 5, struct.pack("<I", 1)),
    ),
    _vector(
        "punch of 1001 as it happens",
        "5050827D28000000F4016C8C0100000031303031" + "00" * 20 + "01001A0904071E00",
        Packet(500, 1, 0, b"1001".ljust(24, b"\0") + b"\x01\x00\x1a\x09\x04\x07\x1e\x00"),
    ),
]

PACKETS = CAPTURED + COMPUTED
BY_NAME = {vector.name.partition(" ")[0]: vector for vector in CAPTURED if vector.name != "Z20 EXIT answered"}
"""Captured packets by the first word of their name; Z20 is the question of the two."""

# The beginning of a packet that was cut off when it was published (node-zklib issue 19): header, prefix, first record.
Z22_HEAD = bytes.fromhex("5050827D 5C050000 DD05583A00000500 50050000 2C00 343130323133")

# (key, session, what proves it): computed, tick 50
COMM_KEYS = [
    (0, 0x6BA0, bytes.fromhex("617D3212")),
    (1234, 0x1F2E, bytes.fromhex("41363266")),
    (1234, 0x1F99, bytes.fromhex("41363266")),
    (1234, 0x2E2E, bytes.fromhex("41363257")),
    (5678, 0x1F2E, bytes.fromhex("09093266")),
    (123456, 0x8DF3, bytes.fromhex("297F3274")),
]

# Answers to GET_FREE_SIZES, data alone.
Z25_SIZES_F18 = bytes.fromhex(  # pyzk issue 111
    "00000000000000000000000000000000 0300000000000000 0300000000000000 3A00000000000000 5A00000000000000"
    "02000000 02000000 B80B0000 88130000 A0860100 B50B0000 85130000 66860100 000000000000000000000000"
)
Z26_SIZES_AK3750 = bytes(4)  # pyzk issue 41: states nothing
Z27_SIZES_H5L = struct.pack(  # pyzk issue 170: counts no attendance while it works as a door controller
    "<20i", 0, 0, 0, 0, 567, 0, 2, 0, 0, 0, 373, 0, 1, 1, 6000, 10000, 200000, 5998, 9433, 200000
)

# A punch by face, data alone (kurenai-ryu/pyzk issue 8, QF-001)
Z24_FACE_EVENT = bytes.fromhex("31313430303634" + "00" * 17 + "0F00120B1D0C3703")

# Log records.
Z28_RECORD_40 = bytes.fromhex("0D00 393939313131333333" + "00" * 15 + "01 6BB36823 00 00000000FF000000")  # zk-protocol
Z29_OPERATION_16 = bytes.fromhex("0000 06 2A C29B6823 0300 0000 0700 0205")  # zk-protocol: not a punch
Z30_RECORDS_16 = bytes.fromhex("15000000EC154F2300000000 00000000 1600000086824F2301000000 00000000")  # js_zklib 50
Z31_RECORDS_40 = b"".join(  # an NG-MB1: finger in, finger out, face in
    bytes.fromhex(head) + b"1".ljust(24, b"\0") + bytes.fromhex(tail) + bytes(8)
    for head, tail in (("0100", "0139EC1A3300"), ("0200", "018BFF1A3301"), ("0300", "0FB41F1B3300"))
)

# A user with a password of three characters and what an older, longer one left behind (zk-protocol).
Z32_USER_72 = (
    bytes.fromhex("0D00 00 34343400C69A807C")
    + b"Ned".ljust(24, b"\0")
    + bytes.fromhex("DE000000 02 0100 0100 0200 0000")
    + b"555".ljust(24, b"\0")
)
