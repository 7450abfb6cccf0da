"""Bundles on a flash disk: whole or refused, and gone on with where the disk was pulled out."""

import gzip
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import bundle as module
from gateway.bundle import (
    MANIFEST,
    Bundle,
    BundleError,
    Header,
    NoEncryptionHere,
    UnfinishedBundle,
    Writer,
    bundles_at,
    check_recipient,
    identities_from,
    public_text,
    signing_key,
    unfinished,
)
from tests.broker import WAIT_S
from tests.drivers.hostile import PLANTS, Plant, untouched
from tests.gateway.mqtt.test_publisher import NOW, SOURCE, Office
from tests.gateway.mutated_bundles import attack, bounded, office, packed, sign
from tests.gateway.mutated_bundles import header as forged

COUNT = 120
PREFIX = "hadir/v1/3602-bkpsdm/gw-01"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several parts of few events; disks that have a little room have enough."""
    monkeypatch.setattr(module, "PART_BYTES", 20_000)
    monkeypatch.setattr(module, "SLACK_BYTES", 16_384)


@pytest.fixture
def bodies(tmp_path: Path) -> list[str]:
    """Return events of an office, as its ledger has them."""
    office = Office(tmp_path)
    office.punches(COUNT)
    bodies = [event.body for event in office.ledger.events(0, 1000)]
    office.close()
    return bodies


@pytest.fixture
def key(tmp_path: Path) -> Ed25519PrivateKey:
    """Make a gateway's key."""
    return signing_key(tmp_path)


def header(key: Ed25519PrivateKey, **changes: Any) -> Header:
    """Return the header of a bundle of the office."""
    return replace(Header(SOURCE, PREFIX, public_text(key), "2026-09-07T01:00:00.000Z"), **changes)


def written(folder: Path, bodies: list[str], signer: Ed25519PrivateKey, **changes: Any) -> Path:
    """Write a bundle to its end; one that was begun is gone on with behind what is in it."""
    writer = Writer(folder, replace(header(signer), **changes), signer)
    done = 0 if writer.last_part is None else writer.last_part.last
    for body in bodies[done:]:
        assert writer.add(body)
    writer.flush()
    writer.finish(0)
    return folder


def carried(folder: Path, identities: tuple[Any, ...] = ()) -> list[str]:
    """Return the bodies that a bundle holds, after it was checked like before it is sent."""
    bundle = Bundle(folder, identities)
    bundle.verify()
    return [event.body for event in bundle.all_events()]


def test_a_bundle_holds_the_very_bytes(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
    """In several parts, with topics, and whoever knows gzip can read it."""
    folder = written(tmp_path / "b", bodies, key)

    bundle = Bundle(folder)
    assert carried(folder) == bodies
    assert len(bundle.parts) > 2
    assert {event.topic for event in bundle.all_events()} == {"punch/lobby"}
    assert bundle.end == module.End(len(bundle.parts), COUNT, 0)
    lines = b"".join(gzip.decompress((folder / part.name).read_bytes()) for part in bundle.parts).decode().splitlines()
    assert lines == bodies


def test_texts_may_hold_any_line_separator(tmp_path: Path, key: Ed25519PrivateKey) -> None:
    """Names of files that people brought, for instance."""
    office = Office(tmp_path)
    office.ledger.record_note("hadir.file.imported.v1", "lobby", NOW, {"file": "a\u2028b\x85c.dat"})
    bodies = [event.body for event in office.ledger.events(0, 10)]
    office.close()
    assert carried(written(tmp_path / "b", bodies, key)) == bodies
    assert "\u2028" in bodies[0]


@pytest.mark.parametrize("call", ["link", "fsync", "unlink"])
def test_a_killed_creation_of_the_key_leaves_nothing_for_long(tmp_path: Path, call: str) -> None:
    """The next run after a minute removes the draft, which holds a key; a younger one may be another process's."""
    killed = f"import os, signal; os.{call} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"
    program = f"from pathlib import Path; from gateway.bundle import signing_key; {killed}; signing_key(Path('.'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=WAIT_S, check=False)
    assert done.returncode == -signal.SIGKILL
    (draft,) = tmp_path.glob(".*.hadir")
    signing_key(tmp_path)
    assert draft.exists()
    os.utime(draft, (time.time() - 100,) * 2)
    key = public_text(signing_key(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [module.KEY_NAME]
    assert public_text(signing_key(tmp_path)) == key


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The second export signs with the same one; what is no key is refused as none."""
    first = signing_key(tmp_path)

    assert public_text(signing_key(tmp_path)) == public_text(first)
    assert re.fullmatch(r"ed25519:[A-Za-z0-9+/]{43}=", public_text(first))
    path = tmp_path / module.KEY_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("rusak")
    with pytest.raises(BundleError, match="this is no key"):
        signing_key(tmp_path)


def manifest_lines(folder: Path) -> list[bytes]:
    """Return the lines of a bundle's manifest."""
    return (folder / MANIFEST).read_bytes().splitlines(keepends=True)


def _cut_part(folder: Path) -> None:
    os.truncate(folder / "part-00002.jsonl.gz", 100)


def _flip_byte(folder: Path) -> None:
    path = folder / "part-00002.jsonl.gz"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)


def _swap_parts(folder: Path) -> None:
    first, second = folder / "part-00001.jsonl.gz", folder / "part-00002.jsonl.gz"
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def _drop_part(folder: Path) -> None:
    (folder / "part-00002.jsonl.gz").unlink()


def _drop_line(folder: Path) -> None:
    lines = manifest_lines(folder)
    (folder / MANIFEST).write_bytes(b"".join(lines[:2] + lines[3:]))


def _change_count(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"events":', '"events":1', 1))


def _change_gateway(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("gw-01", "gw-02"))


def _empty_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"")


def _no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


@pytest.mark.parametrize(
    ("damage", "output"),
    [
        (_cut_part, "part-00002.* cut short"),
        (_flip_byte, "part-00002.* not those that were written"),
        (_swap_parts, "part-0000[12]"),
        (_drop_part, "part-00002.*No such file"),
        (_drop_line, "line 3 is not signed as it stands"),
        (_change_count, "line 2 is not signed as it stands"),
        (_change_gateway, "does not begin as the manifest"),
        (_empty_manifest, "did not come to its end"),
        (_no_manifest, "this is no bundle"),
    ],
)
def test_what_was_altered_is_refused(
    tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey, damage: Callable[[Path], None], output: str
) -> None:
    """Whatever was done to it, the message names the place."""
    folder = written(tmp_path / "b", bodies, key)
    damage(folder)
    with pytest.raises(BundleError, match=output):
        carried(folder)


def test_parts_and_lines_of_another_bundle_are_refused(
    tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey
) -> None:
    """Mixed up on the disk, although the same gateway signed both."""
    one = written(tmp_path / "one", bodies, key)
    other = written(tmp_path / "other", bodies[60:], key, made="2026-09-08T01:00:00.000Z")
    lines, others = manifest_lines(one), manifest_lines(other)
    (one / MANIFEST).write_bytes(b"".join([*lines[:2], *others[2:]]))
    with pytest.raises(BundleError, match="line 3 is not signed"):
        Bundle(one)
    (one / MANIFEST).write_bytes(b"".join(lines))
    shutil.copy(other / "part-00001.jsonl.gz", one / "part-00001.jsonl.gz")
    with pytest.raises(BundleError, match="part-00001"):
        carried(one)


def test_another_key_cannot_speak_for_a_gateway(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
    """Whoever makes a bundle anew signs with a key that is not the gateway's, and must name it."""
    forger = Ed25519PrivateKey.generate()
    forged = Bundle(written(tmp_path / "forged", bodies, forger))
    assert forged.header.key == public_text(forger) != public_text(key)
    with pytest.raises(BundleError, match="does not begin"):
        Bundle(written(tmp_path / "claimed", bodies, forger, key=public_text(key)))


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda bodies: [bodies[0], bodies[2], bodies[1]], "not in order"),
        (lambda bodies: [bodies[0], bodies[0]], "not in order"),
    ],
)
def test_what_a_gateway_would_never_write_is_refused(
    tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey, change: Callable[[list[str]], list[str]], output: str
) -> None:
    """Also where it is rightly signed."""
    with pytest.raises(BundleError, match=output):
        carried(written(tmp_path / "b", change(bodies), key))


def test_events_of_others_are_refused(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
    """A bundle speaks for one gateway, below its own prefix."""
    with pytest.raises(BundleError, match="another gateway"):
        carried(written(tmp_path / "a", bodies, key, source="/hadir/kantor/gw-01", prefix="hadir/v1/kantor/gw-01"))
    with pytest.raises(BundleError, match="topics are not those"):
        Bundle(written(tmp_path / "b", bodies, key, prefix="hadir/v1/kantor/gw-01"))
    with pytest.raises(BundleError, match="topics are not those"):
        Bundle(written(tmp_path / "c", bodies, key, prefix=f"hadir/#/{PREFIX}"))


def test_an_event_that_was_altered_in_the_ledger_is_not_written(
    tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey
) -> None:
    """The whole bundle would be refused at the other end of the way."""
    writer = Writer(tmp_path / "b", header(key), key)
    with pytest.raises(ValueError, match="digest does not fit"):
        writer.add(bodies[0].replace("1001", "1002"))
    writer.close()


def test_gaps_are_reported(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
    """What was settled before is left out, and the counts say so."""
    folder = written(tmp_path / "b", bodies[:5] + bodies[9:12], key)
    (part,) = Bundle(folder).parts
    assert (part.first, part.last, part.events) == (1, 12, 8)
    assert carried(folder) == bodies[:5] + bodies[9:12]


@pytest.mark.parametrize("torn", [0, 1, 40])
def test_pulled_out_while_it_was_written(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey, torn: int) -> None:
    """The manifest is cut anywhere: refused as it is, and the next export completes it with what is whole kept."""
    whole = written(tmp_path / "whole", bodies, key)
    lines = manifest_lines(whole)
    folder = tmp_path / "pulled"
    shutil.copytree(whole, folder)
    (folder / MANIFEST).write_bytes(b"".join(lines[:3]) + lines[3][:torn])
    _cut_to_nothing = folder / "part-00003.jsonl.gz"
    _cut_to_nothing.write_bytes(_cut_to_nothing.read_bytes()[:77])
    kept = (folder / "part-00002.jsonl.gz").stat()

    with pytest.raises(UnfinishedBundle, match="did not come to its end"):
        Bundle(folder)
    assert unfinished(tmp_path, header(key, made="2026-09-09T01:00:00.000Z")) == folder
    assert unfinished(tmp_path, header(key, recipients=("age1x",))) is None
    written(folder, bodies, key, made="2026-09-09T01:00:00.000Z")

    assert carried(folder) == bodies
    assert (folder / "part-00002.jsonl.gz").stat().st_mtime_ns == kept.st_mtime_ns
    assert unfinished(tmp_path, header(key)) is None


def test_what_the_disk_promised_and_does_not_hold_is_written_again(
    tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey
) -> None:
    """A part that its manifest lists is full of noughts: it and what follows is written anew."""
    folder = written(tmp_path / "b", bodies, key)
    lines = manifest_lines(folder)
    (folder / MANIFEST).write_bytes(b"".join(lines[:-1]) + bytes(512))
    part = folder / "part-00002.jsonl.gz"
    part.write_bytes(bytes(part.stat().st_size))
    writer = Writer(folder, header(key), key)
    assert writer.last_part is not None
    assert writer.last_part.stream == Bundle(written(tmp_path / "x", bodies, key)).parts[0].stream
    assert writer.last_part.last == writer.events
    assert 0 < writer.events < COUNT
    writer.close()
    assert carried(written(folder, bodies, key)) == bodies


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let the kernel refuse larger files, as a disk without room does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_fits_is_whole(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
    """With a limit, the bundle ends in time and states what is left."""
    writer = Writer(tmp_path / "b", header(key), key, max_bytes=9_000)
    taken = [writer.add(body) for body in bodies]
    writer.flush()
    writer.finish(COUNT - writer.events)
    size = sum(path.stat().st_size for path in (tmp_path / "b").iterdir())
    assert not all(taken)
    assert 0 < writer.events < COUNT
    assert size < 9_500
    assert carried(tmp_path / "b") == bodies[: writer.events]
    assert Bundle(tmp_path / "b").end.left == COUNT - writer.events


def test_a_disk_that_takes_no_more(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
    """The error comes through, nothing half remains, and with room the same bundle is completed."""
    writer = Writer(tmp_path / "b", header(key), key)
    with files_no_larger_than(1000), pytest.raises(OSError, match="File too large"):
        deque(map(writer.add, bodies))
    writer.close()
    assert [path.name for path in (tmp_path / "b").iterdir()] == [MANIFEST]
    assert unfinished(tmp_path, header(key)) == tmp_path / "b"
    assert carried(written(tmp_path / "b", bodies, key)) == bodies


class TestEncrypted:
    """For the centre alone."""

    def test_only_the_centre_reads_it(self, tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
        """No PIN, serial or identity of an event is on the disk."""
        identity = pyrage.x25519.Identity.generate()
        folder = written(tmp_path / "b", bodies, key, recipients=(str(identity.to_public()),))
        (read,) = identities_from(f"# a comment\n{identity}\n")

        assert carried(folder, (read,)) == bodies
        held = b"".join(path.read_bytes() for path in folder.iterdir())
        event = json.loads(bodies[0])
        assert not [word for word in (event["id"], event["data"]["serial"], '"pin"') if word.encode() in held]
        with pytest.raises(BundleError, match="with --identity"):
            carried(folder)
        with pytest.raises(BundleError, match="encrypted to another one"):
            carried(folder, (pyrage.x25519.Identity.generate(),))

    def test_it_is_gone_on_with(self, tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
        """Although encrypting twice gives other bytes."""
        identity = pyrage.x25519.Identity.generate()
        recipients = (str(identity.to_public()),)
        folder = written(tmp_path / "b", bodies, key, recipients=recipients)
        (folder / MANIFEST).write_bytes(b"".join(manifest_lines(folder)[:2]))
        assert carried(written(folder, bodies, key, recipients=recipients), (identity,)) == bodies

    def test_without_the_library(
        self, tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is named; what is not encrypted needs none."""
        monkeypatch.setitem(sys.modules, "pyrage", None)
        with pytest.raises(NoEncryptionHere, match="pyrage, which is not installed"):
            check_recipient("age1x")
        assert carried(written(tmp_path / "b", bodies, key)) == bodies

    def test_what_is_no_identity(self) -> None:
        """Is refused as none, and not repeated."""
        with pytest.raises(ValueError, match="no identity of age") as caught:
            identities_from("AGE-SECRET-KEY-RUSAK")
        assert "RUSAK" not in str(caught.value)


# --- what others put onto the disk --------------------------------------------------------------------------------


def _bomb(folder: Path) -> None:
    _sign_one(folder, bytes(200 * 1024**2))


def _line_ends(folder: Path) -> None:
    _sign_one(folder, b"\n" * (60 * 1024**2))


def _deep_nest(folder: Path) -> None:
    _sign_one(folder, b"[" * 200_000 + b"\n")


def _deep_event(folder: Path) -> None:
    _sign_one(folder, b'{"data":' * 30_000 + b"\n")


def _manifest_of_line_ends(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\n" * (60 * 1024**2))


def _manifest_without_end(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"".join(manifest_lines(folder)[:-1]))
    os.truncate(folder / MANIFEST, 1 << 40)


def _manifest_of_one_nest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"[" * 60_000 + b"\n")


def _part_of_any_size(folder: Path) -> None:
    part, _ = packed(b"", list(office()[1]), 1)
    part = replace(part, bytes=1 << 40)
    (folder / MANIFEST).write_bytes(sign([{"header": asdict(forged())}, {"part": asdict(part)}]))


def _part_with_all_bytes(folder: Path) -> None:
    part, _ = packed(b"", list(office()[1]), 1)
    contents = [
        {"header": asdict(forged())},
        {"part": asdict(part) | {"bytes": -2}},
        {"end": asdict(module.End(1, 1, 0))},
    ]
    (folder / MANIFEST).write_bytes(sign(contents))
    os.truncate(folder / part.name, 1 << 40)


def _part_elsewhere(folder: Path) -> None:
    part, _ = packed(b"", list(office()[1]), 1)
    part = replace(part, name="../../../etc/passwd\x1b[2J")
    (folder / MANIFEST).write_bytes(sign([{"header": asdict(forged())}, {"part": asdict(part)}]))


def _very_many_parts(folder: Path) -> None:
    part, _ = packed(b"", list(office()[1]), 1)
    parts = [{"part": asdict(part)}] * (module.MOST_PARTS + 1)
    (folder / MANIFEST).write_bytes(sign([{"header": asdict(forged())}, *parts]))


def _sign_one(folder: Path, lines: bytes) -> None:
    part, data = packed(lines, list(office()[1]), 1)
    (folder / part.name).write_bytes(data)
    contents = [{"header": asdict(forged())}, {"part": asdict(part)}, {"end": asdict(module.End(1, part.events, 0))}]
    (folder / MANIFEST).write_bytes(sign(contents))


@pytest.mark.parametrize(
    "plant",
    [
        _bomb,
        _line_ends,
        _deep_nest,
        _deep_event,
        _manifest_of_line_ends,
        _manifest_without_end,
        _manifest_of_one_nest,
        _part_of_any_size,
        _part_with_all_bytes,
        _part_elsewhere,
        _very_many_parts,
    ],
)
def test_what_would_take_all_memory_is_refused(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    """Bombs, nests, line ends and sizes, rightly signed: each is refused, for less than 32 MB."""
    folder = tmp_path / "b"
    written(folder, list(office()[1]), office()[0])
    plant(folder)
    with bounded(), pytest.raises(BundleError) as refused:
        Bundle(folder).verify()
    assert str(refused.value).isprintable()


def test_a_bundle_of_as_many_parts_as_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full, and whole; what did not fit is for the next one."""
    monkeypatch.setattr(module, "MOST_PARTS", 2)
    key, bodies = office()
    writer = Writer(tmp_path / "b", header(key), key)
    for body in bodies[:3]:
        assert writer.add(body)
        writer.flush()
    assert (writer.full, writer.events) == (True, 2)
    writer.finish(1)
    assert carried(tmp_path / "b") == list(bodies[:2])


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_what_is_no_file_is_neither_read_nor_written(
    tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey, plant: Plant
) -> None:
    """A link, a pipe or a device as manifest, as part, as bundle, or as our own key."""
    ours = tmp_path / "ledger"
    ours.write_bytes(b"ours")
    stick = tmp_path / "stick"
    stick.mkdir()
    whole = written(stick / "whole", bodies, key)
    for name in (MANIFEST, "part-00001.jsonl.gz"):
        folder = stick / "hostile"
        shutil.copytree(whole, folder)
        (folder / name).unlink()
        plant(folder / name, ours)
        with pytest.raises(BundleError):
            Bundle(folder).verify()
        assert unfinished(stick, header(key)) is None
        shutil.rmtree(folder)
    begun = stick / "begun"
    plant(begun, ours)
    if not begun.is_dir() or begun.is_symlink():
        with pytest.raises(OSError, match=r"link|folder|in the way"):
            Writer(begun, header(key), key)
    assert bundles_at(stick) == [whole]
    # A part that is to be written: what lies there is taken away, and nothing is written through it.
    going_on = stick / "going-on"
    going_on.mkdir()
    plant(going_on / "part-00001.jsonl.gz", ours)
    if not (going_on / "part-00001.jsonl.gz").is_dir():
        assert carried(written(going_on, bodies, key)) == bodies
    data = tmp_path / "daemon"
    data.mkdir()
    plant(data / module.KEY_NAME, ours)
    with pytest.raises(OSError, match=r"link|folder|pipe|socket"):
        signing_key(data)
    assert untouched(ours, b"ours")


FOUND = (1250,)
"""Seeds that found a fault: a source with marks of the direction of writing, repeated in a message."""


@pytest.mark.parametrize("seed", [*range(60), *FOUND])
def test_mutated_bundles(seed: int) -> None:
    """Two changes at once, rightly signed: refused in one line, or of events that a gateway wrote."""
    attack(seed)


def test_where_bundles_are(tmp_path: Path, bodies: list[str], key: Ed25519PrivateKey) -> None:
    """A bundle, a disk with some of them, and what is neither."""
    folder = written(tmp_path / "disk", bodies[:3], key)
    assert bundles_at(folder) == [folder]
    assert bundles_at(tmp_path) == [folder]
    assert bundles_at(tmp_path / "data") == [tmp_path / "data"]
    with pytest.raises(BundleError, match="holds nothing"):
        Bundle(written(tmp_path / "empty", [], key))
