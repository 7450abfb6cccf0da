"""The command as people and scripts use it: each time a process of its own, on a real broker."""

import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest

from central.cli import EPILOG, HINTS, Code, hint_lines, main
from central.secret import SecretError, read_secret
from central.store import IngestResult, Message, Store
from tests import command
from tests.broker import WAIT_S, Broker, Subscriber, eventually
from tests.central.receiving import BASE, Sender, check_whole, held, wait_for
from tests.central.sealing import GATEWAY, STREAM, Source, batch, payload

CENTRAL = [sys.executable, "-m", "central.cli"]
DECIDED = ("--from", "2026-09-01", "--by", "Budi", "--paper", "SK 1")
DOCS = Path(__file__).parent.parent.parent / "docs"


def environment() -> dict[str, str]:
    """Return an environment in which nobody watches."""
    return {key: value for key, value in os.environ.items() if key != "HADIR_DEBUG"} | {
        "TERM": "dumb",
        "COLUMNS": "120",
    }


def central(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return command.run("central.cli", *arguments, env=environment())


@contextmanager
def running(*arguments: object, limit: Callable[[], None] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run an inbox for the length of a block."""
    if limit is None:
        process = command.start("central.cli", "inbox", *arguments, env=environment())
    else:
        process = subprocess.Popen(
            [*CENTRAL, "inbox", *map(str, arguments)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,  # noqa: PLW1509 - a limit, set between fork and exec, takes no lock
        )
    process = command.drained(process)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def logged(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """Read the log up to the first line of a name."""
    assert process.stderr is not None
    lines = []
    for text in process.stderr:
        lines.append(text)
        if text.startswith("{"):
            line: dict[str, Any] = json.loads(text)
            if line["event"] == event:
                return line
    raise AssertionError(f"{event} was not logged:\n{''.join(lines)}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; return exit code and what was still said."""
    _, rest = process.communicate(timeout=WAIT_S)
    return process.returncode, rest


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Return where the database will be."""
    return tmp_path / "centre.db"


def stored(db: Path, *messages: tuple[str, bytes]) -> None:
    """Make a database that holds what these messages say; topics are below the gateway's prefix."""
    store = Store(db)
    store.ingest(Message(f"{GATEWAY}/{topic}", body) for topic, body in messages)
    store.close()


def test_an_inbox_from_start_to_stop(tmp_path: Path, db: Path) -> None:
    """It logs JSON, can be looked at while it runs, and stops in good order on SIGTERM."""
    source = Source()
    source.punches(30)
    with Broker(tmp_path) as broker, running("--broker", broker.url, "--db", db) as process:
        assert logged(process, "inbox_started")["version"] == version("hadir-gateway")
        logged(process, "broker_found")
        with Sender(broker.port) as sender, Subscriber(broker.port, "hadir/v1/+/+/receipt") as subscriber:
            sender.publish(("batch", batch(*source.events)))
            wait_for(db, 30)
            assert json.loads(central("report", "--db", db, "--json").stdout)["streams"][0]["upto"] == 30
            assert central("verify", "--db", db).stdout == "OK: 30 events, 0 faults\n"
            process.send_signal(signal.SIGTERM)
            code, rest = ended(process)
            subscriber.wait_for(lambda messages: messages and messages[-1].payload["upto"] == 30)

    assert code == 0
    assert [json.loads(line)["event"] for line in rest.splitlines()][-2:] == ["events_taken", "inbox_stopped"]
    check_whole(db, source)


def test_it_works_with_the_rights_and_the_broker_that_the_documents_show(tmp_path: Path, db: Path) -> None:
    """The sample access list is enough for the centre, and mosquitto has the settings that its page requires."""
    block = re.search(r"```\n(user gw-01\n.*?)```", (DOCS / "contract.md").read_text("utf-8"), re.DOTALL)
    settings = re.search(r"```\n(persistence .*?)```", (DOCS / "centre.md").read_text("utf-8"), re.DOTALL)
    assert block
    assert settings
    lines = [line for line in settings[1].splitlines() if line.split()[0] not in ("persistence", "max_queued_messages")]
    secret = tmp_path / "secret"
    secret.write_text("rahasia\n")
    secret.chmod(0o600)
    options = ("--username", "centre", "--password-file", secret, "--client-id", "centre-1")
    users = {"centre": "rahasia", "gw-01": "x"}
    with Broker(tmp_path, *lines, users=users, acl=block[1], persistent=True) as broker:
        with running("--broker", broker.url, "--db", db, *options) as process:
            logged(process, "broker_found")
            with Subscriber(broker.port, f"{BASE}/receipt", username="gw-01", password="x") as gateway:
                gateway._client.publish(f"{BASE}/punch/lobby", payload(Source().punch(1)), 1).wait_for_publish(10)
                (receipt,) = gateway.wait_for(lambda messages: messages)
        assert receipt.payload["stream"] == STREAM
        assert receipt.payload["upto"] == 1


def test_tls_with_a_certificate_of_its_own(tmp_path: Path, db: Path) -> None:
    """The broker is believed by its authority, the centre by its certificate; without that it states what is wrong."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    lines = [f"{kind} {certificate}" for kind in ("certfile", "cafile")]
    with Broker(tmp_path, *lines, f"keyfile {key}", "require_certificate true") as broker:
        url = broker.url.replace("mqtt:", "mqtts:")
        with running("--broker", url, "--db", db) as process:
            assert "certificate is not trusted" in logged(process, "broker_lost")["reason"]
        ours = ("--ca-file", certificate, "--cert-file", certificate, "--key-file", key)
        with running("--broker", url, "--db", db, *ours) as process:
            logged(process, "broker_found")


def test_gateways_below_another_root_are_ignored(tmp_path: Path, db: Path) -> None:
    """Messages of gateways below another root are not received; the root may have several levels."""
    with (
        Broker(tmp_path) as broker,
        running("--broker", broker.url, "--db", db, "--root", "prov/hadir") as process,
        Sender(broker.port) as sender,
        Subscriber(broker.port, "+/hadir/v1/+/+/receipt") as subscriber,
    ):
        logged(process, "broker_found")
        sender.send(Source().punch(1))
        sender._client.publish(f"prov/hadir/v1/{GATEWAY}/punch/lobby", payload(Source().punch(1)), 1)
        (receipt,) = subscriber.wait_for(lambda messages: messages)
        assert receipt.topic == f"prov/hadir/v1/{GATEWAY}/receipt"
        assert held(db) == [1]


def test_a_full_disk_ends_it_and_loses_nothing(tmp_path: Path, db: Path) -> None:
    """Exit code 74 and what to do; the broker still has what could not be stored."""
    source = Source()
    source.punches(2000)
    with Broker(tmp_path) as broker:
        with running("--broker", broker.url, "--db", db) as process:
            logged(process, "broker_found")
        with Sender(broker.port) as sender:
            sender.send(*source.events)
        size = 400_000
        with running(
            *("--broker", broker.url, "--db", db),
            limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        ) as process:
            code, rest = ended(process)
        assert code == Code.DISK
        assert "hadir-central: " in rest
        assert HINTS["database"][1] in rest
        assert len(held(db)) < 2000
        with running("--broker", broker.url, "--db", db):
            wait_for(db, 2000)
    check_whole(db, source)


def test_a_log_that_cannot_be_written_does_not_stop_the_inbox(tmp_path: Path, db: Path) -> None:
    """Standard error may be a file on a full disk: events are stored and acknowledged all the same."""
    with Broker(tmp_path) as broker, Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            [*CENTRAL, "inbox", "--broker", broker.url, "--db", str(db)], env=environment(), stderr=full
        )
        try:
            with Sender(broker.port) as sender:
                eventually(lambda: process.poll() is not None or "/v1/+/+/info" in broker.log, what="the subscription")
                sender.send(*Source().punches(1))
            eventually(lambda: process.poll() is not None or held(db) == [1], what="the event")
            assert held(db) == [1]
            process.terminate()
            assert process.wait(WAIT_S) == 0
        finally:
            process.kill()
            process.wait()


def test_two_inboxes_do_not_share_a_database(tmp_path: Path, db: Path) -> None:
    """The second one ends at once and states why."""
    with Broker(tmp_path) as broker, running("--broker", broker.url, "--db", db) as process:
        logged(process, "broker_found")
        second = central("inbox", "--broker", broker.url, "--db", db)

    assert second.returncode == Code.LOCKED
    assert str(db) in second.stderr
    assert HINTS["locked"][1] in second.stderr


def test_an_unreachable_broker_is_retried(tmp_path: Path, db: Path) -> None:
    """Start order does not matter: it reports once that the broker is away, and stops on request."""
    broker = Broker(tmp_path)
    with running("--broker", broker.url, "--db", db) as process:
        assert "cannot be reached" in logged(process, "broker_lost")["reason"]
        with broker:
            logged(process, "broker_found")
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--broker", "broker.example.go.id"), "mqtt://host"),
        (("--broker", "mqtt://b:99999"), "mqtt://host"),
        (("--broker", "mqtt://b", "--root", "Hadir"), "a-z"),
        (("--broker", "mqtt://b", "--ca-file", "{here}"), "mqtts://"),
        (("--broker", "mqtts://b", "--cert-file", "{here}"), "key"),
        (("--broker", "mqtt://b", "--password-file", "{here}"), "--username"),
        (("--broker", "mqtt://b", "--password-file", "{here}.not"), "does not exist"),
        (("--broker", "mqtt://b", "--username", "u", "--password-file", "{open}"), "chmod 600"),
        ((), "--broker"),
    ],
)
def test_wrong_usage_is_reported_and_nothing_is_made(db: Path, arguments: tuple[str, ...], says: str) -> None:
    """Exit code 2."""
    readable = db.parent / "secret"
    readable.touch(0o644)
    files = {"{here}": __file__, "{here}.not": f"{__file__}.not", "{open}": str(readable)}

    result = central("inbox", "--db", db, *(files.get(argument, argument) for argument in arguments))

    assert result.returncode == 2
    assert says in result.stderr
    assert not db.exists()


@pytest.mark.parametrize("command", ["report", "verify"])
def test_a_missing_database_is_reported(tmp_path: Path, command: str) -> None:
    """A wrong name, and a file of another kind, each with what to do."""
    missing = central(command, "--db", tmp_path / "none.db")
    other = tmp_path / "other.db"
    other.write_text("not a database, whatever its name may be" * 40)
    wrong = central(command, "--db", other)

    assert (missing.returncode, wrong.returncode) == (Code.DISK, Code.DISK)
    assert f"{tmp_path / 'none.db'}: no such database" in missing.stderr
    assert HINTS["no_database"][1] in missing.stderr
    assert HINTS["database"][1] in wrong.stderr


def test_an_inbox_that_cannot_create_its_file_reports_it(tmp_path: Path) -> None:
    """The folder must exist."""
    result = central("inbox", "--broker", "mqtt://127.0.0.1:9", "--db", tmp_path / "none" / "centre.db")

    assert result.returncode == Code.DISK
    assert "none/centre.db: No such file or directory" in result.stderr


def test_a_report_for_people_names_everything_that_is_wrong(db: Path) -> None:
    """Missing, forked, broken, misnamed, replaced, rejected: each in words, the first few of each."""
    old, new, copy = Source("old"), Source("new"), Source("new")
    old.punches(4)
    new.punches(12)
    copy.events = new.events[:2]
    copy.punch(77)
    new.record("hadir.punch.recorded.v1", "stolen", {"terminal": "lobby"}, "lobby")
    end = {"stream": "old", "sequence": 2, "digest": old.events[1]["digest"]}
    later = Source("new", events=[*new.events[:12], {**new.events[12]}])
    later.events[12]["digest"] = "sha256:" + "0" * 64
    broken = later.punch(14)
    stored(
        db,
        ("punch/lobby", payload(*old.events)),
        ("info", new.info(end, assigned=20)),
        ("batch", batch(*(event for event in new.events if int(event["sequence"]) % 2 or int(event["sequence"]) == 2))),
        ("punch/lobby", payload(copy.events[2])),
        ("punch/lobby", payload(broken)),
        ("punch/lobby", b"{"),
    )

    indonesian = central("report", "--db", db, "--lang", "id").stdout
    assert "tersimpan 1 sampai" in indonesian
    assert "CABANG" in indonesian
    assert "nothing" not in indonesian
    result = central("report", "--db", db)

    assert result.returncode == 0
    for line in (
        f"{GATEWAY} stream old (ended)",
        "  held      1 to 4, nothing missing",
        "  chain     verified from 1 to 4",
        f"{GATEWAY} stream new",
        "  held      1 to 20, 11 missing: 4, 6, 8, 10, 12, ...",
        "  follows   old after sequence 2, as we hold it; 2 events after that are held",
        "  FORKS     1, at 3",
        "  MISNAMED  1, at 13",
        f"rejected: 1 from {GATEWAY}: not_json",
    ):
        assert line in result.stdout.splitlines()
    assert "verified from 1 to 3; 1 BROKEN, first at 14: expected sha256:" in result.stdout
    assert re.search(r"1002|1077", result.stdout) is None
    reported = json.loads(central("report", "--db", db, "--json").stdout)
    assert reported["rejected"] == [{"gateway": GATEWAY, "reason": "not_json", "messages": 1, "only_counted": 0}]
    assert reported["streams"][1]["chain"]["first_break"]["sequence"] == 14
    assert reported["streams"][1]["missing"][-1] == [15, 20]


def test_pruned_bodies_are_listed_and_are_no_fault(db: Path) -> None:
    """Both commands say it, by place and not by person; a script finds it in the JSON."""
    source = Source()
    source.punches(9)
    stored(
        db,
        ("batch", batch(*source.events[:3], source.events[6], source.forget(*source.events[3:6], *source.events[7:9]))),
    )

    shown, checked = central("report", "--db", db), central("verify", "--db", db)

    words = "5 by id and digest alone, content gone at the gateway: 4-6, 8-9"
    assert f"  gone      {words}" in shown.stdout.splitlines()
    assert "  held      1 to 10, nothing missing" in shown.stdout.splitlines()
    assert checked.returncode == 0
    assert checked.stdout == (
        f"{GATEWAY} stream {STREAM}: {words}\nOK: 5 events, 0 faults; on trust: 5 pruned bodies, 0 first `previous`\n"
    )
    reported = json.loads(central("report", "--db", db, "--json").stdout)
    assert reported["streams"][0]["gone"] == [[4, 6], [8, 9]]


def test_a_report_of_nothing_and_of_a_stream_joined_late(tmp_path: Path, db: Path) -> None:
    """Both are states of a healthy beginning."""
    stored(tmp_path / "empty.db")
    source = Source()
    source.punches(5)
    stored(db, ("batch", batch(*source.events[3:])))

    assert central("report", "--db", tmp_path / "empty.db").stdout == "no messages from a gateway yet\n"
    assert "verified from 4 to 5; joined in mid-stream" in central("report", "--db", db).stdout


def test_verify_names_each_fault_and_fails(db: Path) -> None:
    """What was altered in the file comes out, without anything of a person."""
    source = Source()
    source.punches(3)
    stored(db, ("batch", batch(*source.events)))
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute('UPDATE event SET body = replace(body, \'"pin":"1002"\', \'"pin":"9999"\')')

    result = central("verify", "--db", db)

    assert result.returncode == Code.NEGATIVE
    assert f"{GATEWAY} stream {STREAM} sequence 2: its content was altered in this database" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("WRONG: 3 events")
    assert "9999" not in result.stdout


@pytest.mark.parametrize(
    "altered",
    [
        "CAST(replace(CAST(body AS BLOB), X'31303032', X'31E03032') AS TEXT)",
        "X'FFFE'",
        "'[{},{}]'",
        "''",
        "'[' || body || ']'",
        "json_set(body, '$.stream', 5)",
    ],
)
def test_a_damaged_body_affects_only_itself(db: Path, altered: str) -> None:
    """Verification goes on behind it, the inbox takes what another gateway sends of that punch, and no PIN is shown."""
    ours, theirs = Source(), Source(gateway="site/gw-02")
    ours.punches(5)
    theirs.punches(1)
    theirs.punch(2, state=1)
    stored(db, ("batch", batch(*ours.events)))
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute(f"UPDATE event SET body = {altered} WHERE sequence = 2")  # noqa: S608 - our own words
        connection.execute('UPDATE event SET body = replace(body, \'"pin":"1004"\', \'"pin":"9999"\')')

    store = Store(db)
    taken = store.ingest([Message("site/gw-02/batch", batch(*theirs.events))])
    store.close()
    assigned = central("serial", "assign", "CEXA193960001", "site/gw-02", *DECIDED, "--db", db)
    result = central("verify", "--db", db)

    assert taken == IngestResult(stored=2)
    assert assigned.returncode == 0, assigned.stderr
    assert result.returncode == Code.NEGATIVE
    for place in (2, 4):
        assert f"{GATEWAY} stream {STREAM} sequence {place}: its content was altered in this database" in result.stdout
    assert "sequence 5:" not in result.stdout.replace("sequence 5: previous", "")
    assert "CEXA" not in result.stdout + result.stderr
    assert result.stderr == ""


def test_values_of_another_type_affect_only_their_stream(db: Path) -> None:
    """Who wrote into the columns is found too, and the other streams are verified."""
    ours, theirs = Source(), Source(gateway="site/gw-02")
    ours.punches(3)
    theirs.punches(3)
    stored(db, ("batch", batch(*ours.events)))
    store = Store(db)
    store.ingest([Message("site/gw-02/batch", batch(*theirs.events))])
    store.close()
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE event SET sequence = 'two' WHERE sequence = 2 AND stream = 1")
        connection.execute("UPDATE event SET body = '' WHERE sequence = 3 AND stream = 2")

    result = central("verify", "--db", db)

    assert result.returncode == Code.NEGATIVE
    assert f"{GATEWAY} stream {STREAM} sequence 0: its rows were altered in this database" in result.stdout
    assert f"site/gw-02 stream {STREAM} sequence 3: its content was altered in this database" in result.stdout


def test_the_command_is_installed_documented_and_bilingual() -> None:
    """Name, exit codes, and for every failure two lines of what to do."""
    (script,) = entry_points(group="console_scripts", name="hadir-central")
    page = (DOCS / "centre.md").read_text("utf-8")

    assert script.load() is main
    assert central("--version").stdout == f"hadir-central {version('hadir-gateway')}\n"
    for code in Code:
        assert str(code.value) in EPILOG
        assert f"| {code.value} |" in page
    assert all(len(set(hint_lines(name))) == 2 for name in HINTS)


def test_output_that_is_not_read_to_its_end_is_no_mistake(db: Path) -> None:
    """`| head` ends it quietly."""
    stored(db, *(("punch/lobby", payload(Source(f"stream-{number}").punch(1))) for number in range(3000)))
    command = f"{' '.join(CENTRAL)} report --db {db} | head -1"

    result = subprocess.run(command, shell=True, env=environment(), capture_output=True, text=True, check=False)  # noqa: S602 - a pipe

    assert result.stdout.startswith(GATEWAY)
    assert result.stderr == ""


def test_serial_numbers_are_listed_and_assigned(db: Path) -> None:
    """Who owns a terminal, by what, and whose punches count; text that moves a cursor is not printed."""
    stored(db, ("punch/lobby", payload(Source().punch(1))))

    assigned = central(
        *("serial", "assign", "CEXA193960001", "3602-bkpsdm/gw-02", "--db", db),
        *("--from", "2026-09-01", "--by", "Budi", "--paper", "SK 12/2026"),
    )
    wrong = central(
        *("serial", "assign", "CEXA193960001", "gw-02", "--db", db, "--from", "2026-09-01", "--by", "B", "--paper", "S")
    )
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE ownership SET paper = 'SK\x1b[2J' WHERE paper IS NOT NULL")
    listed = central("serial", "list", "--db", db)

    assert assigned.returncode == 0
    assert assigned.stdout == (
        "CEXA193960001 belongs to 3602-bkpsdm/gw-02 from 2026-09-01 on; 0 punches count otherwise than before\n"
    )
    assert wrong.returncode == 2
    assert "SITE/GATEWAY" in wrong.stderr
    assert listed.stdout.splitlines() == [
        "CEXA193960001",
        f"  always          {GATEWAY}, sent its first punch",
        "  from 2026-09-01 3602-bkpsdm/gw-02, decided by Budi, SK\\x1b[2J",
        f"  punches         1 by {GATEWAY}",
    ]
    assert json.loads(central("serial", "list", "--db", db, "--json").stdout)[0]["punches"] == {GATEWAY: 1}


def test_verify_names_and_counts_what_rests_on_trust(db: Path) -> None:
    """Pruned bodies, and each first `previous` behind something missing; of a whole stream, nothing."""
    source = Source()
    source.punches(9)
    source.forget(source.events[2])
    stored(db, ("batch", batch(*source.events[1:2], *source.events[3:5], *source.events[6:])))

    lines = central("verify", "--db", db).stdout.splitlines()

    assert lines == [
        f"{GATEWAY} stream {STREAM}: 1 by id and digest alone, content gone at the gateway: 3",
        f"{GATEWAY} stream {STREAM}: 2 times `previous` taken on trust, the event before is missing: 2, 7",
        "OK: 7 events, 0 faults; on trust: 1 pruned bodies, 2 first `previous`",
    ]


@pytest.mark.parametrize(
    ("content", "login"),
    [
        (b"\xef\xbb\xbfrahasia\r\n", True),
        (b"rahasia\n\n", True),
        (b"rahasia\0\n", False),
        (b"rahasia\nlagi\n", False),
        (b"\xff\xfer\0", False),
        (b"", False),
        (b"x" * 5000, False),
    ],
)
def test_a_password_is_read_by_one_rule(tmp_path: Path, content: bytes, login: bool) -> None:
    """Marks and line ends that editors add do not count; what is no line of text is refused with a reason."""
    file = tmp_path / "password"
    file.write_bytes(content)
    if login:
        assert read_secret(file) == "rahasia"
    else:
        with pytest.raises(SecretError) as refused:
            read_secret(file)
        assert "rahasia" not in str(refused.value)


def test_a_pipe_instead_of_a_file_is_refused(tmp_path: Path, db: Path) -> None:
    """It would be waited for at every connection."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for option in ("--password-file", "--ca-file"):
        result = central("inbox", "--broker", "mqtts://b", "--db", db, "--username", "u", option, pipe)
        assert result.returncode == 2
        assert "regular" in result.stderr
    with pytest.raises(SecretError):
        read_secret(pipe)
