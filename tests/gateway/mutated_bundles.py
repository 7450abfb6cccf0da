"""Bundles with two things wrong at once, rightly signed all the same: :func:`attack` gives each to what reads one."""

import gzip
import json
import tracemalloc
from base64 import b64encode
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import bundle as module
from gateway.bundle import MANIFEST, Bundle, BundleError, End, Header, Part, Writer, bundles_at, public_text, unfinished
from gateway.event import verified
from gateway.ledger import StoredEvent
from tests.gateway.mqtt.test_publisher import SOURCE, Office
from tests.mutation import encode_json, mutate_bytes, mutate_json, mutate_lines

PREFIX = "hadir/v1/3602-bkpsdm/gw-01"
MOST_MEMORY = 32 * 1024**2
Contents = list[dict[str, Any]]


@cache
def office() -> tuple[Ed25519PrivateKey, tuple[str, ...]]:
    """Return a key, and events of an office."""
    with TemporaryDirectory() as folder:
        made = Office(Path(folder))
        made.punches(24)
        bodies = tuple(event.body for event in made.ledger.events(0, 100))
        made.close()
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32))), bodies


def header() -> Header:
    """Return the header of a bundle of the office."""
    return Header(SOURCE, PREFIX, public_text(office()[0]), "2026-09-07T01:00:00.000Z")


def packed(lines: bytes, bodies: list[str], number: int) -> tuple[Part, bytes]:
    """Return a part that holds ``lines``, and its manifest, which lists ``bodies``."""
    data = gzip.compress(lines, mtime=0)
    ends = [verified(bodies[0]), verified(bodies[-1])]
    first, last = (int(end["sequence"]) for end in ends)
    name, stream, digests = f"part-{number:05d}.jsonl.gz", ends[0]["stream"], (ends[0]["previous"], ends[1]["digest"])
    part = Part(name, stream, first, last, len(bodies), *digests, len(data), sha256(data).hexdigest())
    return part, data


def sign(contents: Contents) -> bytes:
    """Write a manifest whose lines say these, whatever they are, each rightly signed."""
    key, before, lines = office()[0], "", []
    for content in contents:
        with suppress(RecursionError, UnicodeEncodeError, ValueError):  # what cannot be signed cannot be listed
            before = b64encode(key.sign(module._to_sign(content, before))).decode()
        text = encode_json({**content, "signature": before}) if isinstance(content, dict) else encode_json(content)
        lines.append(text + b"\n")
    return b"".join(lines)


def write(folder: Path, random: Random) -> None:
    """Write a bundle with two changes: in events, in what the manifest states, or in the bytes of either."""
    bodies = list(office()[1])
    choices = [random.randrange(5) for _ in range(2)]
    contents: Contents = [{"header": asdict(header())}]
    for number, run in enumerate((bodies[:12], bodies[12:]), 1):
        lines = "".join(f"{body}\n" for body in run).encode()
        if 0 in choices:
            at = random.randrange(len(run))
            event = encode_json(mutate_json(json.loads(run[at]), random, 1))
            lines = lines.replace(run[at].encode(), event)
        if 1 in choices:
            lines = mutate_lines(lines, random, 1)
        part, data = packed(lines, run, number)
        if 2 in choices and random.random() < 0.5:
            data = mutate_bytes(data, random, 1)
            part = replace(part, bytes=len(data), sha256=sha256(data).hexdigest())
        (folder / part.name).write_bytes(data)
        contents.append({"part": asdict(part)})
    contents.append({"end": asdict(End(2, len(bodies), 0))})
    if 3 in choices:
        contents = mutate_json(contents, random, 1)
    manifest = sign(contents) if isinstance(contents, list) else encode_json(contents)
    if 4 in choices:
        manifest = mutate_bytes(manifest, random, 1)
    (folder / MANIFEST).write_bytes(manifest)


def attack(seed: int) -> None:
    """Read a mutated bundle in every way there is; AssertionError, or whatever is raised, where that is a fault."""
    with TemporaryDirectory() as name:
        stick = Path(name)
        (stick / "bundle").mkdir()
        write(stick / "bundle", Random(seed))
        assert bundles_at(stick) in ([stick / "bundle"], [stick])
        with bounded():
            read(stick / "bundle")
        going_on = unfinished(stick, header())
        if going_on is not None:
            key, bodies = office()
            writer = Writer(going_on, header(), key)
            done = writer.events
            for body in bodies[done:]:
                assert writer.add(body)
            writer.flush()
            writer.finish(0)


def read(folder: Path) -> None:
    """Read a bundle as it is read before it is sent: refused, or every event is one that a gateway wrote."""
    events: list[StoredEvent] = []
    try:
        bundle = Bundle(folder)
        bundle.verify()
        events = list(bundle.all_events())
    except BundleError as exc:
        refusal = str(exc)
    else:
        refusal = ""
    assert refusal.isprintable()
    for event in events:
        assert verified(event.body)["source"] == SOURCE
        assert module._TOPIC.fullmatch(event.topic)


class bounded:  # noqa: N801 - used like a function
    """Fails where more memory is taken than an attack may cost."""

    def __enter__(self) -> None:
        tracemalloc.start()

    def __exit__(self, *exc: object) -> None:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MOST_MEMORY, f"{peak:,} bytes"
