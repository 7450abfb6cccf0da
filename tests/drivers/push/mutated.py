"""Mutations of what a terminal sends: uploads of every dialect, changed in two places, and requests likewise."""

import re
from datetime import datetime
from random import Random

from drivers.base import BadRecord, RawPunch
from drivers.push import wire
from drivers.push.simulator import FIRMWARES, SimulatedTerminal, history
from drivers.receiver.http import BadRequest, parse_head
from tests.drivers.push.conversation import SERIAL, Conversation
from tests.mutation import mutate_bytes

NOON = datetime.fromisoformat("2026-11-30 12:00:00")
OTHER_BODIES = {
    "cdata?table=OPERLOG&OpStamp=7": b"USER PIN=7\tName=Siti\tPasswd=1\nFP PIN=7\tTMP=Ts9S\n",
    "cdata?table=options": b"~DeviceName=K40,TransactionCount=7,ComKey=9,FWVersion=Ver 6.60",
    "cdata?table=XYZLOG": b"7\t2026-11-30 07:00:00\t0\t1\nA=1\tB=2\n",
    "cdata?table=tabledata&tablename=user&count=1": b"user uid=1\tpin=7\tname=Siti\n",
    "devicecmd": b"ID=1&Return=0&CMD=VERIFY SUM&AttlogCount=12\nID=2&Return=-1002&CMD=DATA\n",
    "registry": b"DeviceType=acc,~DeviceName=X",
    "fdata?table=ATTPHOTO": b"PIN=1.jpg\tSN=1\nCMD=uploadphoto\x00\xff\xd8",
}


def attack(seed: int) -> None:
    """Send one mutated upload of punches; raise whatever is no record, or an answer that counts otherwise."""
    random = Random(seed)
    firmware = random.choice(list(FIRMWARES))
    simulated = SimulatedTerminal(serial=SERIAL, firmware=firmware)
    simulated.log += history(seed, 8, NOON)
    lines = [simulated.line(made) for made in simulated.log]
    body = mutate_bytes(b"".join(line + b"\n" for line in lines), random)
    target = (
        "cdata?table=rtlog" if firmware == "acc" else f"cdata?table=ATTLOG&Stamp={random.choice(('9999', '1', 'x'))}"
    )
    terminal = Conversation()
    reply = terminal.send(target, body, step=random.choice((1, 7, 4096)))
    count = sum(1 for line in body.split(b"\n") if line.strip(b" \t\r\0"))
    assert reply.status == 200
    assert reply.body == (b"OK" if firmware == "acc" else b"OK: %d" % count)
    records = [record for batch in terminal.batches for record in batch.records]
    assert len(records) <= count
    for record in records:
        assert isinstance(record, RawPunch | BadRecord)
        assert len(record.raw) <= wire.MAX_LINE
        assert record.raw.count(b"\t") < wire.KEPT_FIELDS
        if isinstance(record, RawPunch):
            assert re.fullmatch(r"[ -~]{1,24}", record.pin or "")
            assert record.pin != "0"
    # A line that the mutation left alone is a punch like before.
    alone = set(body.split(b"\n"))
    found = {(record.pin, record.local_time) for record in records if isinstance(record, RawPunch)}
    for made, line in zip(simulated.log, lines, strict=True):
        assert line not in alone or (made.pin, made.moment) in found


def attack_others(seed: int) -> None:
    """Send a mutated body of another kind: an answer follows, and nothing of it becomes a punch."""
    random = Random(seed)
    terminal = Conversation()
    target, body = random.choice(list(OTHER_BODIES.items()))
    reply = terminal.send(target, mutate_bytes(body, random), step=random.choice((1, 7, 4096)))
    assert reply.status in (200, 503)
    assert not [record for batch in terminal.batches for record in batch.records]
    assert b"Siti" not in reply.body


def attack_head(seed: int) -> None:
    """Begin with a mutated request: it is refused by the HTTP core, or answered."""
    random = Random(seed)
    target = random.choice((*OTHER_BODIES, "cdata?options=all&DeviceType=acc", "getrequest?INFO=Ver 6,1,2,3", "push"))
    joint = "&" if "?" in target else "?"
    head = f"GET /iclock/{target}{joint}SN={SERIAL} HTTP/1.1\r\nHost: 10.1.2.3".encode()
    try:
        parse_head(mutated := mutate_bytes(head, random))
    except BadRequest:
        return
    reply = Conversation().send_head(mutated)
    assert reply is None or reply.status in (200, 401, 404, 503)
    assert reply is None or b"ICLOCKSVRURL" not in reply.body
