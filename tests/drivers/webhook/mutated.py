"""Mutations of what an app posts: values of its JSON, and its bytes, changed in two places."""

import json
import re
from random import Random

from drivers.base import BadRecord, RawPunch
from drivers.webhook import wire
from tests.drivers.webhook.office import SECRET
from tests.drivers.webhook.test_wire import FORM
from tests.mutation import encode_json, mutate_bytes, mutate_json

PRIVATE = "Siti Rahma"


def attack(seed: int) -> None:
    """Read one mutated body; raise where what comes of it is neither records nor a refusal, or too much is kept."""
    random = Random(seed)
    records = [
        {
            "id": f"a-{number}",
            "pin": str(1000 + number),
            "at": f"2026-11-30T07:0{number}:00+07:00",
            "kind": random.choice(("masuk", "pulang", 0, 255, None)),
            "how": [15],
            "name": PRIVATE,
            "lat": -6.2,
        }
        for number in range(4)
    ]
    value = {"app": {"name": PRIVATE}, "records": records}
    body = encode_json(mutate_json(value, random)) if seed % 2 else mutate_bytes(json.dumps(value).encode(), random)
    try:
        found = wire.records_in(body, FORM, SECRET.encode())
    except wire.Refused as exc:
        refusal = str(exc)
    else:
        refusal = ""
    assert PRIVATE not in refusal
    if refusal:
        return
    for record in found:
        assert isinstance(record, RawPunch | BadRecord)
        assert len(record.raw) < 2000
        json.loads(record.raw)
        if isinstance(record, RawPunch):
            assert record.source_id is None or record.source_id.encode() in record.raw
            assert record.pin is not None
            assert not re.search("[0-9]{18}", record.pin)
            assert record.local_time.tzinfo is None
            assert not record.local_time.microsecond
    if seed % 2:  # a record that the mutation left alone is a punch like before
        kept = json.loads(body).get("records") if b"NaN" not in body else ()
        pins = {record.pin for record in found if isinstance(record, RawPunch)}
        assert all(one["pin"] in pins for one in records if isinstance(kept, list) and one in kept)
