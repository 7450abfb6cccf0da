"""Reproduce identity and digest of events, one JSON text a line on standard input: an event, or a batch of them."""

import hashlib
import json
import sys
import uuid

for line in sys.stdin:
    message = json.loads(line)
    for event in message if isinstance(message, list) else [message]:
        digest, data = event.pop("digest"), event["data"]
        canonical = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        right = digest == "sha256:" + hashlib.sha256((event["previous"] + canonical).encode()).hexdigest()
        if event["type"] == "hadir.punch.recorded.v1":
            who = data["pin"] or f"uid:{data['uid']}"
            name = "\n".join([data["serial"], who, data["local_time"], str(data["occurrence"])])
            right &= event["id"] == str(uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "urn:hadir:punch:v1"), name))
        print(event["sequence"], "right" if right else "WRONG")
