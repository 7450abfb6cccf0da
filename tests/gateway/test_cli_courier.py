"""The commands `export`, `courier send` and `receipt import`, as people type them."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pyrage
import pytest

from gateway.bundle import MANIFEST, Bundle
from gateway.cli import hint_lines
from gateway.ledger import LedgerReader
from tests import contract
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.drivers.hostile import PLANTS, Plant, untouched
from tests.gateway.mqtt.test_broker_faults import check_whole, inbox
from tests.gateway.mqtt.test_publisher import Office
from tests.gateway.test_cli import configuration, hadir, running

COUNT = 300


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write the configuration of an office with punches that no network took."""
    office = Office(tmp_path)
    office.punches(COUNT)
    office.close()
    path = configuration(tmp_path, lobby="127.0.0.1:9")
    path.write_text(path.read_text().replace("site: kantor", "site: 3602-bkpsdm"))
    (tmp_path / "stick").mkdir()
    return path


def exported(config: Path, *options: object) -> Path:
    """Export onto the stick and return the bundle's folder."""
    done = hadir("export", "-c", config, "--json", "--to", config.parent / "stick", *options)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["bundle"])


def counts(config: Path) -> tuple[int, int]:
    """Return how many events wait, and how many are confirmed."""
    ledger = LedgerReader(config.parent / "data")
    found = ledger.counts()
    ledger.close()
    return found.waiting, found.confirmed


@pytest.mark.parametrize("daemon_runs", [False, True])
def test_out_on_a_stick_and_the_receipt_back(tmp_path: Path, config: Path, daemon_runs: bool) -> None:
    """With and without a running gateway; encrypted on the way, and everything at the centre once."""
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "centre.key").write_text(f"{identity}\n")
    key = hadir("export", "-c", config, "--show-key").stdout.strip()
    folder = exported(config, "--recipient", identity.to_public())
    with Broker(tmp_path) as broker, inbox(broker.port, tmp_path / "centre.db"):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        arguments = ("courier", "send", tmp_path / "stick", "--broker", broker.url, "--key", key)
        done = hadir(*arguments, "--identity", tmp_path / "centre.key")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"OK: {folder}: 300 events sent" in done.stdout
    assert key.startswith("3602-bkpsdm/gw-01=ed25519:")
    assert f"of 3602-bkpsdm/gw-01, signed by {key.partition('=')[2]}" in done.stdout
    check_whole(tmp_path / "centre.db", COUNT)
    assert counts(config) == (COUNT, 0)
    if daemon_runs:
        with running("run", "-c", config) as daemon:
            assert daemon.stderr is not None
            daemon.stderr.readline()
            back = hadir("receipt", "import", "-c", config, folder / "receipt.json")
    else:
        back = hadir("receipt", "import", "-c", config, folder / "receipt.json")
    assert (back.returncode, back.stderr) == (0, "")
    assert "the centre confirms 300 events" in back.stdout
    assert counts(config)[1] == COUNT
    if not daemon_runs:
        again = hadir("receipt", "import", "-c", config, folder / "receipt.json")
        assert (again.returncode, "(that was known)" in again.stdout) == (0, True)
        assert "nothing waits" in hadir("export", "-c", config, "--to", tmp_path / "stick").stdout


def test_export_chooses(tmp_path: Path, config: Path) -> None:
    """By day, and by size; what is left is reported."""
    nothing = hadir("export", "-c", config, "--json", "--to", tmp_path / "stick", "--since", "2030-01-01")
    assert json.loads(nothing.stdout) == {"bundle": None, "events": 0, "bytes": 0, "left": 0, "altered": 0}
    assert list((tmp_path / "stick").iterdir()) == []
    done = hadir("export", "-c", config, "--json", "--to", tmp_path / "stick", "--max-bytes", "20KiB")
    row = json.loads(done.stdout)
    assert 0 < row["events"] < COUNT
    assert (row["events"] + row["left"], row["bytes"] < 22_000) == (COUNT, True)


def test_export_that_cannot_be_done(tmp_path: Path, config: Path) -> None:
    """Each states what is wrong and what to do."""
    (tmp_path / "taken").touch()  # no folder, not even for root
    done = hadir("export", "-c", config, "--to", tmp_path / "taken" / "stick")
    assert (done.returncode, hint_lines("stick")[1] in done.stderr) == (74, True)
    assert hadir("export", "-c", config).returncode == 2
    wrong = hadir("export", "-c", config, "--to", tmp_path / "stick", "--recipient", "age1rusak")
    assert (wrong.returncode, "public key of age" in wrong.stderr) == (2, True)
    (tmp_path / "data" / "bundle.key").write_text("rusak")
    broken = hadir("export", "-c", config, "--show-key")
    assert (broken.returncode, "this is no key" in broken.stderr) == (74, True)


def test_an_altered_event_is_left_out_and_the_others_go(tmp_path: Path, config: Path) -> None:
    """Also one that was sealed anew, so that only the digest beside it shows what was done."""
    with closing(LedgerReader(tmp_path / "data")) as reader:
        third = json.loads(reader.events(2, 1)[0].body)
    del third["digest"]
    third["data"]["pin"] = "6666"
    digest = "sha256:" + sha256((third["previous"] + contract.canonical(third)).encode()).hexdigest()
    forged = contract.canonical(third | {"digest": digest})
    with closing(sqlite3.connect(tmp_path / "data" / "ledger.db")) as other, other:
        other.execute("UPDATE event SET body = ? WHERE sequence = 3", (forged,))
        other.execute("UPDATE event SET body = replace(body, '1001', '6666') WHERE sequence = ?", (COUNT,))
    done = hadir("export", "-c", config, "--json", "--to", tmp_path / "stick")
    row = json.loads(done.stdout)
    assert (done.returncode, row["events"], row["altered"], row["left"]) == (0, COUNT - 2, 2, 0)
    assert hint_lines("altered")[0] in done.stderr
    with Broker(tmp_path) as broker, inbox(broker.port, tmp_path / "centre.db"):
        sent = hadir("courier", "send", tmp_path / "stick", "--broker", broker.url, "--wait", "1s", "--json")
    (row,) = json.loads(sent.stdout)
    assert (row["sent"], row["refused"]) == (COUNT - 2, [])


def test_an_interrupted_export_is_completed(config: Path) -> None:
    """The same command, the same folder."""
    folder = exported(config)
    lines = (folder / MANIFEST).read_bytes().splitlines(keepends=True)
    (folder / MANIFEST).write_bytes(b"".join(lines[:-1]))
    done = hadir("courier", "send", folder, "--broker", "mqtt://127.0.0.1:9")
    assert (done.returncode, hint_lines("unfinished")[1] in done.stderr) == (1, True)
    assert exported(config) == folder
    assert (folder / MANIFEST).read_bytes().splitlines()[1:-1] == [line.rstrip() for line in lines[1:-1]]


def test_an_export_begun_with_a_newer_ledger_leaves_out_nothing(tmp_path: Path, config: Path) -> None:
    """A ledger that was restored since gives other events the numbers of those in the unfinished bundle."""
    office = Office(tmp_path)
    office.close()
    assert hadir("ledger", "backup", "-c", config).returncode == 0
    office = Office(tmp_path)
    office.punches(50, "gate")
    office.close()
    folder = exported(config)
    lines = (folder / MANIFEST).read_bytes().splitlines(keepends=True)
    (folder / MANIFEST).write_bytes(b"".join(lines[:-1]))
    restored = hadir("ledger", "restore", "-c", config)
    assert restored.returncode == 0, restored.stderr
    office = Office(tmp_path)
    office.punches(40, "gate")
    office.close()
    with closing(LedgerReader(tmp_path / "data")) as reader:
        waiting = {event.body for event in reader.unsettled(0, 1000)}
    assert exported(config) == folder
    assert waiting <= {event.body for event in Bundle(folder).all_events()}


def test_what_is_refused_is_not_sent(tmp_path: Path, config: Path) -> None:
    """One bad bundle among good ones, another key, the wrong identity: not one message leaves."""
    good = exported(config)
    bad = tmp_path / "stick" / "bad"
    shutil.copytree(good, bad)
    os.truncate(bad / "part-00001.jsonl.gz", 999)
    other = tmp_path / "other.key"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    with Broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        send = ("courier", "send", "--broker", broker.url)
        damaged = hadir(*send, tmp_path / "stick")
        assert (damaged.returncode, "cut short" in damaged.stderr) == (1, True)
        assert hint_lines("bundle")[1] in damaged.stderr
        stranger = hadir(*send, good, "--key", f"3602-bkpsdm/gw-01=ed25519:{'A' * 43}=")
        assert (stranger.returncode, "not by a key of that gateway" in stranger.stderr) == (1, True)
        assert hadir(*send, good, "--identity", config).returncode == 2
        assert subscriber.messages == []


def test_send_without_a_receipt(tmp_path: Path, config: Path) -> None:
    """The broker took all, and no receipt of a centre arrived within the time: not done."""
    folder = exported(config)
    with Broker(tmp_path) as broker, Subscriber(broker.port, "hadir/v1/#"):
        done = hadir("courier", "send", folder, "--broker", broker.url, "--wait", "0.2s", "--json")
    assert (done.returncode, hint_lines("unconfirmed")[1] in done.stderr) == (1, True)
    (row,) = json.loads(done.stdout)
    assert (row["sent"], row["confirmed"], row["receipt"]) == (COUNT, False, None)


def test_send_that_cannot_be_done(tmp_path: Path, config: Path) -> None:
    """No subscriber, no broker, wrong options."""
    folder = exported(config)
    with Broker(tmp_path) as broker:
        unserved = hadir("courier", "send", folder, "--broker", broker.url)
    assert (unserved.returncode, "no client subscribes" in unserved.stderr) == (77, True)
    for options in (("--broker", "mqtt://a:b@x"), ("--broker", "mqtts://x", "--cert-file", config)):
        assert hadir("courier", "send", folder, *options).returncode == 2


def test_receipts_that_cannot_be_used(tmp_path: Path, config: Path) -> None:
    """No receipt, another gateway's, none at all: nothing changes."""
    file = tmp_path / "receipt.json"
    receipt = {"stream": "6f9c2d1e-8a47-4c53-9b0e-2f6d1a7c4e80", "upto": 1, "missing": [], "at": "2026-09-04T00:31:00Z"}
    for text, output in (
        ("{}", "cannot be read as a receipt"),
        (json.dumps(receipt), "a stream that this ledger never"),
    ):
        file.write_text(text)
        done = hadir("receipt", "import", "-c", config, file)
        assert (done.returncode, output in done.stderr, hint_lines("receipt")[1] in done.stderr) == (1, True, True)
    assert hadir("receipt", "import", "-c", config, tmp_path / "none.json").returncode == 74
    assert counts(config) == (COUNT, 0)


@pytest.mark.parametrize(
    "arguments", [["export", "--to", "stick"], ["courier", "send", "stick", "--broker", "mqtt://b"]]
)
def test_without_the_library_that_signs(arguments: list[str]) -> None:
    """It is named, with what to do."""
    program = (
        "import sys; sys.modules['cryptography'] = None; from gateway.cli import main; "
        f"sys.argv = ['hadir', *{arguments!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 1
    assert "the library cryptography, which is not installed" in done.stderr
    assert "hadir-gateway[courier]" in done.stderr


def test_a_key_signs_for_its_own_gateway_only(tmp_path: Path, config: Path) -> None:
    """Of several offices each signs for itself alone, and a key that does not say whose it is counts for none."""
    good = exported(config)
    key = hadir("export", "-c", config, "--show-key").stdout.strip()
    bare = key.partition("=")[2]
    other = f"ed25519:{'B' * 43}="
    keys = tmp_path / "keys.txt"
    send = ("courier", "send", good, "--broker", "mqtt://127.0.0.1:9")
    # The key of this gateway, but as that of another office: a compromised office cannot speak for this one.
    keys.write_text(f"# dinas lain\n3602-dinas/gw-01={bare}\n3602-bkpsdm/gw-01 {other}\n")
    done = hadir(*send, "--keys", keys)
    assert (done.returncode, "not by a key of that gateway that was named" in done.stderr) == (1, True)
    done = hadir(*send, "--key", f"3602-dinas/gw-01={bare}")
    assert (done.returncode, "3602-bkpsdm/gw-01, of which no key was named" in done.stderr) == (1, True)
    done = hadir(*send, "--key", bare)
    shown = " ".join(done.stderr.replace("│", " ").split())
    assert (done.returncode, "does not say whose key it is" in shown) == (2, True), shown
    done = hadir(*send, "--key", "sandi")
    assert (done.returncode, "--show-key" in done.stderr) == (2, True)
    keys.write_text("# nothing\n")
    assert hadir(*send, "--keys", keys).returncode == 2
    # Both keys of a gateway that was set up anew count.
    keys.write_text(f"\ufeff3602-bkpsdm/gw-01={other}\r\n{key}\r\n", encoding="utf-8")
    assert hadir(*send, "--keys", keys).returncode == 69  # taken; only the broker is not there


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
def test_nothing_is_written_through_what_lies_on_a_stick(tmp_path: Path, config: Path, plant: Plant) -> None:
    """In the place of the receipt, of a part, and of the receipt that comes back."""
    ours = tmp_path / "authorized_keys"
    ours.write_bytes(b"ours")
    folder = exported(config)
    plant(folder / "receipt.json", ours)
    with Broker(tmp_path) as broker, inbox(broker.port, tmp_path / "centre.db"):
        eventually(lambda: "hadir/v1/+/+/batch" in broker.log)
        done = hadir("courier", "send", tmp_path / "stick", "--broker", broker.url)
    assert (done.returncode, "receipt.json: " in done.stderr, hint_lines("output")[1] in done.stderr) == (
        74,
        True,
        True,
    )
    back = hadir("receipt", "import", "-c", config, folder / "receipt.json")
    assert (back.returncode, "receipt.json: " in back.stderr) == (74, True)
    # An export that was interrupted, continued among files of other origin.
    lines = (folder / MANIFEST).read_bytes().splitlines(keepends=True)
    (folder / MANIFEST).write_bytes(lines[0])
    (folder / "part-00001.jsonl.gz").unlink()
    plant(folder / "part-00001.jsonl.gz", ours)
    again = hadir("export", "-c", config, "--to", tmp_path / "stick")
    assert again.returncode == (74 if (folder / "part-00001.jsonl.gz").is_dir() else 0), again.stderr
    assert untouched(ours, b"ours")


def test_names_on_a_stick_do_nothing_to_the_screen(tmp_path: Path, config: Path) -> None:
    """Folders and files with escape sequences in their names, and names that are no text."""
    folder = exported(config)
    for number, name in enumerate((b"\x1b[2J\x1b[31mOK", b"caf\xe9")):
        place = tmp_path / f"stick{number}"
        place.mkdir()
        hostile = Path(os.fsdecode(os.fsencode(place) + b"/" + name))
        shutil.copytree(folder, hostile)
        (hostile / "part-00001.jsonl.gz").unlink()
        done = hadir("courier", "send", place, "--broker", "mqtt://127.0.0.1:9")
        assert (done.returncode, "part-00001.jsonl.gz: No such file" in done.stderr) == (1, True)
        exports = Path(os.fsdecode(os.fsencode(place) + b"/" + name + b"_attlog.dat"))
        exports.write_bytes(b"1001\t2026-09-04 07:30:00\t1\t0\t1\t0\n")
        imported = hadir("import", "-c", config, exports)
        assert imported.returncode == 1, imported.stderr
        assert "\x1b" not in done.stderr + done.stdout + imported.stderr + imported.stdout
