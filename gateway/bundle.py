"""Bundles: events on a flash disk, written by the gateway, carried by a person, verified before any event is sent.

A bundle is a folder. Its parts are JSON lines of the events as they are stored, compressed and, for a centre with a
public key, encrypted (age). Its manifest is a file that only grows: a line for each part, written after the part itself
and signed together with the previous line; the last line marks the bundle as complete. Nothing is renamed, the flash
disk may be removed at any moment, and the next export continues after the last complete line.
"""

import gzip
import importlib
import io
import json
import os
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from drivers import safe_files
from drivers.safe_files import Folder, printable
from gateway.event import topic_of, verified
from gateway.ledger import StoredEvent

FORMAT = "hadir.bundle.v1"
MANIFEST = "manifest.jsonl"
RECEIPT = "receipt.json"
"""Name of the centre's receipt, written beside the parts and returned to the gateway."""
KEY_NAME = "bundle.key"
PART_BYTES = 2 * 1024**2
"""Maximum uncompressed size of a part's events, which both ends keep in memory."""
LARGEST_PART = 4 * 1024**2
"""Upper bound of a part's size on the disk."""
LARGEST_EVENT = 256 * 1024
"""Upper bound of an event's size."""
MOST_PARTS = 10_000
"""Maximum number of parts, about twenty million punches; further events go into the next bundle."""
MANIFEST_LINE = 64 * 1024
"""Upper bound of a manifest line, for any number of recipients."""
KEY_BYTES = 16 * 1024
SLACK_BYTES = 128 * 1024
"""Space to be left on the disk after a part, for the end of the manifest and the file system."""


class BundleError(Exception):
    """A bundle cannot be used; the message says which and why."""


class UnfinishedBundle(BundleError):  # noqa: N818 - named by the condition
    """The export was interrupted."""


class NoEncryptionHere(BundleError):  # noqa: N818 - named by the condition
    """The encryption library is not installed."""


# --- keys ---------------------------------------------------------------------------------------------------------


def signing_key(data_dir: Path) -> Ed25519PrivateKey:
    """Return the key with which this gateway signs, made at first use; raises OSError, BundleError.

    Only the owner of ``data_dir`` may read it, also where root makes it.
    """
    path = data_dir / KEY_NAME
    with Folder(data_dir) as folder:
        folder.remove_drafts()  # of a process that was killed while it made a key: it may hold one
        if folder.stat(KEY_NAME) is None:
            _make_key(folder)
        data = folder.read(KEY_NAME, KEY_BYTES)
    try:
        key = load_pem_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise BundleError(f"{path}: this is no key; move it away, and a new one is made") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{path}: this is no Ed25519 key; move it away, and a new one is made")
    return key


def _make_key(folder: Folder) -> None:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Where a concurrent export created the key first, that key is used.
    with suppress(FileExistsError), folder.draft(KEY_NAME, 0o600, replace=False) as file:
        safe_files.write_all(file, key)
        folder.match_owner(file)


def public_text(key: Ed25519PrivateKey) -> str:
    """Return the public part of a key as people exchange it."""
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"ed25519:{b64encode(raw).decode()}"


def check_recipient(text: str) -> None:
    """Raise ValueError where ``text`` is no public key of the age format, NoEncryptionHere without the library."""
    _recipients((text,))


def identities_from(text: str) -> list[Any]:
    """Return the secret keys of an age identity file; raises ValueError, which repeats none of them."""
    age = _age()
    lines = [line.strip() for line in text.splitlines()]
    try:
        found = [age.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except age.IdentityError:
        found = []
    if not found:
        raise ValueError("no identity of age is in it; `age-keygen` makes one, beginning with AGE-SECRET-KEY-")
    return found


def _recipients(texts: Iterable[str]) -> list[Any]:
    age = _age()
    try:
        return [age.x25519.Recipient.from_str(text) for text in texts]
    except age.RecipientError as exc:
        raise ValueError("not a public key of age, which begins with age1") from exc


def _age() -> Any:
    try:
        return importlib.import_module("pyrage")
    except ImportError:
        raise NoEncryptionHere("encrypted bundles need the library pyrage, which is not installed here") from None


# --- the manifest -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a manifest: origin of the events."""

    source: str
    """The gateway, ``/hadir/<site>/<gateway>``, as its events name it."""
    prefix: str
    """The prefix of its topics."""
    key: str
    """The public key that all lines are signed with."""
    made: str
    """When the export began, by the gateway's clock."""
    since: str | None = None
    """The first day of recording of the selected events; None: all waiting events."""
    recipients: tuple[str, ...] = ()
    """Public keys of the recipients; empty: not encrypted."""
    format: str = FORMAT


@dataclass(frozen=True, slots=True)
class Part:
    """A file of events of one stream, in the order of their sequence; some between may be settled and missing."""

    name: str
    stream: str
    first: int
    last: int
    """Sequences of the first and the last event."""
    events: int
    previous: str
    """The digest preceding the first event."""
    digest: str
    """The digest of the last event."""
    bytes: int
    sha256: str
    """SHA-256 of the file on the disk."""


@dataclass(frozen=True, slots=True)
class End:
    """The last line of a manifest."""

    parts: int
    events: int
    left: int
    """Further waiting events that did not fit."""


@dataclass(slots=True)
class _Manifest:
    """Content of the complete and correctly signed lines of a manifest."""

    header: Header
    parts: list[Part] = field(default_factory=list)
    end: End | None = None
    signature: str = ""
    """Signature of the last line, which is part of the next line's signed content."""
    size: int = 0
    """Bytes of these lines."""


_TOPIC = re.compile(r"[a-z0-9-]+(/[a-z0-9-]+)*")
_BEGIN = b'{"header":{'
_UNFINISHED = "the export did not come to its end"
_KINDS: dict[str, type] = {"header": Header, "part": Part, "end": End}
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _signed(kind: str, entry: Header | Part | End, before: str, key: Ed25519PrivateKey) -> tuple[bytes, str]:
    """Return a line of a manifest and its signature."""
    content = {kind: asdict(entry)}
    signature = b64encode(key.sign(_to_sign(content, before))).decode()
    return _encode({**content, "signature": signature}).encode() + b"\n", signature


def _to_sign(content: dict[str, Any], before: str) -> bytes:
    return f"{FORMAT}\n{before}\n{_encode(content)}".encode()


class _IncompleteHeader(ValueError):  # noqa: N818 - named by the condition
    """The export was interrupted before the first line of the manifest was complete."""


def _manifest_from(file: BinaryIO) -> tuple[_Manifest, bool]:
    """Read a manifest up to the first line that is incomplete or wrongly signed; ValueError where that is its first.

    Return it, and whether that line was complete. Bytes after the final line are not part of it and are not read.
    """
    found: _Manifest | None = None
    public: Ed25519PublicKey | None = None
    spoilt = False
    while found is None or (found.end is None and len(found.parts) <= MOST_PARTS):
        line = file.readline(MANIFEST_LINE)
        before = found.signature if found else ""
        spoilt = line.endswith(b"\n") or len(line) == MANIFEST_LINE
        try:
            if not line.endswith(b"\n"):
                break
            content = json.loads(line)
            signature = content.pop("signature")
            ((kind, fields),) = content.items()
            if kind == "header" and "recipients" in fields:
                fields = {**fields, "recipients": tuple(fields["recipients"])}
            entry = _KINDS[kind](**fields)
            _check_fields(entry)
            if isinstance(entry, Header):
                public = Ed25519PublicKey.from_public_bytes(
                    b64decode(entry.key.removeprefix("ed25519:"), validate=True)
                )
            if public is None:
                break
            public.verify(b64decode(signature, validate=True), _to_sign(content, before))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidSignature):
            break
        if isinstance(entry, Header) and found is None and entry.format == FORMAT:
            found = _Manifest(entry)
        elif isinstance(entry, Part) and found is not None:
            found.parts.append(entry)
        elif isinstance(entry, End) and found is not None:
            found.end = entry
        else:
            break
        found.signature = signature
        found.size += len(line)
        spoilt = False
    if found is None:
        if not spoilt and line[: len(_BEGIN)] == _BEGIN[: len(line)]:
            raise _IncompleteHeader("its first line is not whole")
        raise ValueError("it does not begin as the manifest of a bundle does")
    if len(found.parts) > MOST_PARTS:
        raise ValueError("it has more parts than any that a gateway writes")
    return found, spoilt


_PART = re.compile(r"part-[0-9]{5}\.jsonl\.gz(\.age)?")


def _check_fields(entry: Header | Part | End) -> None:
    """Raise TypeError for a field of another type than is written, ValueError for a value that no part has."""
    for name in entry.__slots__:
        value = getattr(entry, name)
        whole = name in ("first", "last", "events", "bytes", "parts", "left")
        text = isinstance(value, str) or (name == "since" and value is None)
        texts = name == "recipients" and all(isinstance(one, str) for one in value)
        if not (isinstance(value, int) if whole else text or texts):
            raise TypeError(name)
    if isinstance(entry, Part) and not (_PART.fullmatch(entry.name) and 0 < entry.bytes <= LARGEST_PART):
        raise ValueError(entry.name)


# --- parts --------------------------------------------------------------------------------------------------------


def _packed(bodies: Sequence[str], recipients: Sequence[str]) -> bytes:
    # Without a timestamp the same events produce the same file.
    data = gzip.compress("".join(f"{body}\n" for body in bodies).encode(), compresslevel=6, mtime=0)
    return bytes(_age().encrypt(data, _recipients(recipients))) if recipients else data


def _lines(data: bytes, header: Header, identities: Sequence[Any]) -> Iterator[str]:
    """Yield the bodies of a part, decompressing incrementally; raises ValueError with what is wrong."""
    if header.recipients:
        if not identities:
            raise ValueError("it is encrypted: name the file of the centre's secret key with --identity")
        age = _age()
        try:
            data = age.decrypt(data, list(identities))
        except age.DecryptError:
            raise ValueError("the secret key does not open it: it is encrypted to another one") from None
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while True:
            try:
                # Not str.splitlines(): texts may contain other line separators of Unicode.
                line = file.readline(LARGEST_EVENT)
            except (OSError, EOFError, zlib.error):
                raise ValueError("it cannot be decompressed") from None
            if not line:
                return
            if len(line) == LARGEST_EVENT:
                raise ValueError("an event is larger than any that a gateway writes")
            yield line.decode().removesuffix("\n")


def _events_from(bodies: Iterable[str], part: Part, source: str) -> Iterator[StoredEvent]:
    """Yield the events of a part; ValueError where one is altered, misplaced, or of another gateway."""
    first = last = None
    count, digest = 0, part.previous
    for body in bodies:
        event = verified(body)
        if (event["source"], event["stream"]) != (source, part.stream):
            raise ValueError("an event is of another gateway or stream")
        sequence = int(str(event["sequence"]))
        if last is not None and sequence <= last:
            raise ValueError("the events are not in order")
        if (last is None or sequence == last + 1) and event["previous"] != digest:
            raise ValueError("an event does not follow the one before it")
        digest = event["digest"]
        topic = topic_of(event["type"], event.get("subject"))
        if not _TOPIC.fullmatch(topic):
            raise ValueError("an event is of a terminal that cannot have its name")
        first, last, count = first or sequence, sequence, count + 1
        if count > part.events:
            break
        yield StoredEvent(sequence, topic, body, 0)
    if (first, last, count, digest) != (part.first, part.last, part.events, part.digest):
        raise ValueError("its events are not those that the manifest tells of")


# --- writing ------------------------------------------------------------------------------------------------------


class Writer:
    """A bundle that is being written. Every method raises OSError where writing fails.

    What was written before that is whole: another writer for the same folder goes on behind it.
    """

    def __init__(self, folder: Path, header: Header, key: Ed25519PrivateKey, max_bytes: int | None = None) -> None:
        """Begin or continue the bundle in ``folder``, whose header must be ``header``."""
        self.folder = folder
        self._key = key
        self._max_bytes = max_bytes
        self._bodies: list[str] = []
        self._ends: list[tuple[int, str, str]] = []
        """Sequence, previous and digest of each of them."""
        self._stream = ""
        self._size = 0
        self.full = False
        """The disk was too full for an added event."""
        with Folder(folder.parent) as parent:
            parent.make_folder(folder.name)
            self._disk = parent.folder(folder.name)
        try:
            known = _complete_part_of(self._disk)
            self._manifest = known or _Manifest(header)
            # Opened for reading and writing, and truncated behind the last complete line.
            self._file = self._disk.update(MANIFEST)
        except BaseException:
            self._disk.close()
            raise
        try:
            self._file.truncate(self._manifest.size)
            self._file.seek(self._manifest.size)
            if known is None:
                self._write_line("header", header)
                self._disk.sync()
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the folder without finishing the bundle."""
        if not self._file.closed:
            self._file.close()
            self._disk.close()

    @property
    def last_part(self) -> Part | None:
        """The last part; None without one."""
        return self._manifest.parts[-1] if self._manifest.parts else None

    @property
    def events(self) -> int:
        """Number of events."""
        return sum(part.events for part in self._manifest.parts)

    @property
    def size(self) -> int:
        """Size on the disk, in bytes."""
        return sum(part.bytes for part in self._manifest.parts) + self._manifest.size

    def add(self, body: str) -> bool:
        """Add the next event; False where there is no room for more.

        Raises ValueError where the event is not as it was once written: it would be refused.
        """
        event = verified(body)
        if self._bodies and (event["stream"] != self._stream or self._size >= PART_BYTES):
            self.flush()
        if not self.full:
            self._stream = event["stream"]
            self._bodies.append(body)
            self._ends.append((int(event["sequence"]), event["previous"], event["digest"]))
            self._size += len(body.encode()) + 1
        return not self.full

    def flush(self) -> None:
        """Write the added events as far as the disk has space."""
        while self._bodies:
            data = _packed(self._bodies, self._manifest.header.recipients)
            if self._has_room(len(data)):
                self._write(data)
                break
            self.full = True
            kept = len(self._bodies) // 2
            del self._bodies[kept:], self._ends[kept:]
        self._bodies, self._ends, self._size = [], [], 0

    def finish(self, left: int) -> None:
        """Write the final line of the manifest; ``left`` events did not fit."""
        self._write_line("end", End(len(self._manifest.parts), self.events, left))
        self._disk.sync()
        self.close()

    def _has_room(self, size: int) -> bool:
        within = self._max_bytes is None or self.size + size <= self._max_bytes
        countable = len(self._manifest.parts) < MOST_PARTS
        return within and countable and self._disk.free() >= size + SLACK_BYTES

    def _write(self, data: bytes) -> None:
        name = f"part-{len(self._manifest.parts) + 1:05d}.jsonl.gz" + ".age" * bool(self._manifest.header.recipients)
        self._disk.remove(name)  # left by an interrupted export
        try:
            with self._disk.create(name, 0o644) as file:
                safe_files.write_all(file, data)
                os.fsync(file.fileno())
            self._disk.sync()
        except OSError:
            with suppress(OSError):  # it is not part of the bundle yet, and its space may be needed
                self._disk.remove(name)
            raise
        part = Part(
            name,
            self._stream,
            self._ends[0][0],
            self._ends[-1][0],
            len(self._bodies),
            self._ends[0][1],
            self._ends[-1][2],
            len(data),
            sha256(data).hexdigest(),
        )
        self._write_line("part", part)
        self._manifest.parts.append(part)

    def _write_line(self, kind: str, entry: Header | Part | End) -> None:
        line, self._manifest.signature = _signed(kind, entry, self._manifest.signature, self._key)
        safe_files.write_all(self._file, line)
        os.fsync(self._file.fileno())
        self._manifest.size += len(line)


def unfinished(to: Path, wanted: Header) -> Path | None:
    """Return the unfinished bundle in the folder ``to`` with a header like ``wanted``; None without one.

    The header's time may differ; its gateway, recipients and first day may not. A folder without a complete line is
    recognised by its name: otherwise it would remain among the bundles as a damaged one.
    """
    with Folder(to) as disk:
        for name in disk.names():
            with suppress(OSError, ValueError):  # not a bundle
                with disk.folder(name) as folder:
                    known = _begun_in(folder)
                if known is None and name.startswith(f"{stem(wanted.source)}-"):
                    return to / name
                if known and known.end is None and replace(known.header, made=wanted.made) == wanted:
                    return to / name
    return None


def stem(source: str) -> str:
    """Return the beginning of the names of a gateway's bundles, of characters that every file system accepts."""
    return source.strip("/").replace("/", "-")


def _begun_in(folder: Folder) -> _Manifest | None:
    """Return the manifest in a folder; None where its first line is incomplete and the folder has no other file.

    Raises OSError and ValueError for a folder that is not a bundle.
    """
    names = folder.names(2)
    if not names:
        return None
    try:
        with folder.open(MANIFEST) as file:
            return _manifest_from(file)[0]
    except _IncompleteHeader:
        if names != [MANIFEST]:
            raise
        return None


def _complete_part_of(folder: Folder) -> _Manifest | None:
    """Return the complete lines of a manifest whose parts are complete; None without any. Raises OSError."""
    if folder.stat(MANIFEST) is None:
        return None
    try:
        with folder.open(MANIFEST) as file:
            known, _ = _manifest_from(file)
            # A part that the disk lost is written again, with all later ones.
            whole = next((at for at, part in enumerate(known.parts) if not _holds(folder, part)), len(known.parts))
            if whole == len(known.parts):
                return known
            file.seek(0)
            lines = [file.readline(MANIFEST_LINE) for _ in range(whole + 1)]
            return _manifest_from(io.BytesIO(b"".join(lines)))[0]
    except ValueError:
        return None


def _holds(folder: Folder, part: Part) -> bool:
    try:
        return sha256(folder.read(part.name, part.bytes)).hexdigest() == part.sha256
    except OSError:
        return False


# --- reading ------------------------------------------------------------------------------------------------------


class Bundle:
    """A finished bundle with a correctly signed manifest."""

    def __init__(self, folder: Path, identities: Sequence[Any] = ()) -> None:
        """``identities`` open it where it is encrypted. Raises BundleError."""
        self.folder = folder
        self.name = printable(str(folder))
        """The folder's name, safe for display."""
        self._identities = identities
        path = f"{self.name}/{MANIFEST}"
        try:
            with Folder(folder) as disk, disk.open(MANIFEST) as file:
                manifest, spoilt = _manifest_from(file)
        except OSError as exc:
            raise BundleError(f"{path}: {exc.strerror}: this is no bundle of `hadir export`") from exc
        except _IncompleteHeader as exc:
            raise UnfinishedBundle(f"{self.name}: {_UNFINISHED}") from exc
        except ValueError as exc:
            raise BundleError(f"{path}: {exc}") from exc
        if manifest.end is None:
            if spoilt:
                raise BundleError(f"{path}: it was altered: line {len(manifest.parts) + 2} is not signed as it stands")
            raise UnfinishedBundle(f"{self.name}: {_UNFINISHED}")
        self.header, self.parts, self.end = manifest.header, manifest.parts, manifest.end
        if not self.parts:
            raise BundleError(f"{self.name}: it holds nothing")
        place = self.header.source.removeprefix("/hadir/")
        if not _TOPIC.fullmatch(self.header.prefix) or not self.header.prefix.endswith(f"/v1/{place}"):
            raise BundleError(f"{path}: its topics are not those of {printable(self.header.source)}")

    def events(self, part: Part) -> Iterator[StoredEvent]:
        """Yield the events of a part, each numbered by its sequence in the stream; raises BundleError."""
        path = f"{self.name}/{part.name}"
        try:
            with Folder(self.folder) as disk, disk.open(part.name) as file:
                data = file.read(part.bytes + 1)
            if len(data) != part.bytes:
                raise ValueError("it is cut short, or longer than it was written")  # noqa: TRY301 - raised again with the name
            if sha256(data).hexdigest() != part.sha256:
                raise ValueError("its bytes are not those that were written")  # noqa: TRY301
            yield from _events_from(_lines(data, self.header, self._identities), part, self.header.source)
        except NoEncryptionHere:
            raise
        except OSError as exc:
            raise BundleError(f"{path}: {exc.strerror}") from exc
        except ValueError as exc:
            raise BundleError(f"{path}: {exc}") from exc
        except Exception as exc:  # an error caused by a part is a defect of the part
            raise BundleError(f"{path}: its events cannot be read ({type(exc).__name__})") from exc

    def all_events(self) -> Iterator[StoredEvent]:
        """Yield all events, part by part; raises BundleError."""
        for part in self.parts:
            yield from self.events(part)

    def verify(self, progress: Callable[[int], None] = lambda _events: None) -> None:
        """Verify the whole bundle; raises BundleError at the first defect."""
        for part in self.parts:
            for _ in self.events(part):
                progress(1)


def bundles_at(place: Path) -> list[Path]:
    """Return the bundles at a place: itself, or those in the folder, by name. Links are not followed."""
    try:
        with Folder(place) as folder:
            if folder.stat(MANIFEST) is not None:
                return [place]
            return [place / name for name in folder.names() if _is_bundle(folder, name)] or [place]
    except OSError:
        return [place]  # opening it reports the defect


def _is_bundle(folder: Folder, name: str) -> bool:
    try:
        with folder.folder(name) as inner:
            return inner.stat(MANIFEST) is not None
    except OSError:
        return False
