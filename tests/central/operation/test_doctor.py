"""`hadir-central doctor`: each thing that is in the way is named with its remedy, and a sound centre has none."""

import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from central.cli import Code, hint_lines
from central.lanes.lease import LANE_LOCKS, WORKER_LOCKS
from central.operation import broker_check, doctor
from central.operation.broker_check import certificate_in
from central.operation.findings import FINDINGS
from central.operation.steps import Step
from central.policy.load import SHIPPED
from central.settings import BrokerSettings, load_settings
from central.store import Message, Store, contact, lanes, mails
from central.store.engine import Database
from central.store.mails import New
from central.store.survey import survey
from central.texts import Count, Language
from central.web.access import Role
from central.web.accounts import Account, editing
from central.web.passwords import hash_password
from tests import command
from tests.broker import WAIT_S, Broker, eventually, free_port
from tests.central.sealing import GATEWAY, Source, batch
from tests.central.test_cli import environment
from tests.central.test_cli import running as inbox
from tests.postgres import PASSWORD, ROLE, Server
from tests.standby import Standby as Following

TEMPLATES = Path(__file__).parents[3] / "config" / "templates"
ACL = """\
user centre
topic read hadir/v1/#
topic write hadir/v1/+/+/receipt
topic write hadir/result/v1/#

user half
topic read hadir/v1/+/+/punch/+
"""
REGISTERS = {
    "units": "key,name,parent,zone,from\nu,U,,Asia/Jakarta,2026-01-01\n",
    "timetables": "",
    "schedules": "",
    "people": "key,name,employment,unit,from\np-1,Satu,pns,u,2026-01-01\np-2,Dua,pns,,2026-01-01\n",
    "assignments": "person,unit,schedule,policy,from,until\n,u,,none-such,2026-01-01,\n",
}


def central(*arguments: object) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it printed."""
    done = command.run("central.cli", *arguments, env=environment())
    return done.returncode, done.stdout + done.stderr


def settings(folder: Path, broker: str, user: str = "centre", **more: Any) -> Path:
    """Write settings; ``more`` are keys at the top."""
    (folder / "secrets").mkdir(exist_ok=True)
    (folder / "secrets/password").write_text(f"{user}'s\n")
    (folder / "secrets/password").chmod(0o600)
    text = {
        "broker": {"url": broker, "username": user, "password_file": "secrets/password"},
        "data": str(folder),
        "pages": {"listen": f"127.0.0.1:{free_port()}"},
    } | more
    path = folder / "centre.yaml"
    path.write_text(json.dumps(text))
    return path


def found(path: Path, now: datetime | None = None) -> dict[str, Step]:
    """Return the steps by their findings."""
    return {step.finding: step for step in doctor.examine(load_settings(path), now or datetime.now(UTC).astimezone())}


@contextmanager
def serving(path: Path) -> Iterator[None]:
    """Run the pages for the length of a block."""
    process = command.drained(command.start("central.cli", "-c", path, "serve", env=environment()))
    try:
        eventually(lambda: "pages" in {step.finding for step in doctor._pages(load_settings(path))})
        yield
    finally:
        process.kill()
        process.communicate()


# Longer than 60 lines: each finding shows only when the one before is gone.
def test_each_thing_in_the_way_is_named_and_a_sound_centre_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From nothing to a centre that runs: the findings go one after the other."""
    monkeypatch.setattr(doctor, "_synchronised", lambda: True)
    monkeypatch.setattr(doctor, "ROOM_WANTED", 0)
    monkeypatch.setattr(doctor, "PAGES_S", WAIT_S)  # the machine may be slow
    monkeypatch.setattr(broker_check, "ANSWER_S", WAIT_S)
    with Broker(tmp_path, users={"centre": "centre's", "half": "half's"}, acl=ACL) as broker:
        path = settings(tmp_path, broker.url)
        steps = found(path)
        assert {"no_database", "receiver_stopped", "no_copy", "bad_accounts", "pages_silent"} <= steps.keys()
        assert {"broker_login", "broker_subscribes", "broker_receipts"} <= steps.keys()

        half = found(settings(tmp_path, broker.url, "half"))
        assert half["broker_receipt"].outcome == "failed"
        assert "broker_refuses" in found(settings(tmp_path, broker.url, "nobody"))
        assert "Connection refused" in found(settings(tmp_path, "mqtt://127.0.0.1:9"))["broker_silent"].values["reason"]
        (tmp_path / "secrets/password").unlink()
        assert "No such file" in found(path)["broker_files"].values["reason"]

        own = tmp_path / "own/none-such.yaml"
        own.parent.mkdir()
        own.write_text((SHIPPED / "starter.yaml").read_text("utf-8").replace("policy: starter", "policy: none-such"))
        path = settings(tmp_path, broker.url, policies=str(own.parent))
        Database(tmp_path / "centre.db", create=True).close()
        for kind, text in REGISTERS.items():
            (tmp_path / f"{kind}.csv").write_text(text or (TEMPLATES / f"{kind}.csv").read_text("utf-8"))
            code, output = central("-c", path, "import", kind, tmp_path / f"{kind}.csv", "--by", "x", "--paper", "y")
            assert code == 0, output
        own.unlink()
        with editing(tmp_path / "accounts.yaml") as edited:
            edited.add(Account("kadis", Role.SUPERIOR, ("u", "gone"), None, None))
        steps = found(path)
        assert steps["unknown_policies"].values == {"names": "none-such"}
        assert steps["strange_units"].values == {"units": "gone"}
        assert steps["without_unit"].values == {"count": 1}
        assert {"no_bkd", "judging", "no_gateways"} <= steps.keys()
        assert central("-c", path, "recompute")[0] == 0
        assert found(path)["without_plan"].values == {"count": 2}

        with editing(tmp_path / "accounts.yaml") as edited:
            edited.put(Account("bkd", Role.BKD, (), None, hash_password("a sentence of mine")))
            edited.remove("kadis")
        assert central("-c", path, "backup")[0] == 0
        later = datetime.now(UTC).astimezone() + timedelta(days=3)
        assert "old_copy" in found(path, later)
        assert "old_copy" in found(path, later - timedelta(days=6))  # the clock was ahead when it was made
        login = ("--username", "centre", "--password-file", tmp_path / "secrets/password")
        with inbox("--broker", broker.url, "--db", tmp_path / "centre.db", *login):
            eventually(lambda: "receiver" in found(path))
            with serving(path):
                steps = found(path)
                in_the_way = {name for name, step in steps.items() if step.outcome != "passed"}
                assert in_the_way == {"unknown_policies", "without_unit", "without_plan", "no_gateways"}
                for language in ("en", "id"):
                    code, output = central("-c", path, "doctor", "--lang", language)
                    assert code == 1
                    assert re.search(r"^✗ \w+ +.*none-such\n    → ", output, re.MULTILINE), output
                own.write_text(
                    (SHIPPED / "starter.yaml").read_text("utf-8").replace("policy: starter", "policy: none-such")
                )
                eventually(lambda: central("-c", path, "doctor", "--only-failed")[0] == 0)
                own.unlink()
                code, output = central("-c", path, "doctor", "--json")
                parts = [step["part"] for step in json.loads(output)["steps"]]
                assert list(dict.fromkeys(parts)) == ["centre", "broker", "office", "evidence", "pages"]


def test_mails_are_judged_by_their_settings_and_by_what_became_of_them(tmp_path: Path) -> None:
    """And retention by its settings; without any of both there is nothing to say."""
    mail, retention = tmp_path / "mail.yaml", tmp_path / "retention.yaml"

    def judged(**more: Any) -> dict[str, Step]:
        path = settings(tmp_path, "mqtt://127.0.0.1:9", **more)
        return {step.finding: step for step in doctor._mails(load_settings(path))}

    assert judged() == {}
    retention.write_text("retention: {events: {keep_days: 1, source: x}}\n")
    mail.write_text("mail: {enabled: true}\n")
    named = {"mail": "mail.yaml", "retention": "retention.yaml"}
    assert {name: step.outcome for name, step in judged(**named).items()} == {
        "bad_retention": "failed",
        "bad_mail": "failed",
    }
    retention.write_text("retention: {}\n")
    mail.write_text("mail: {enabled: false}\n")
    assert judged(**named).keys() == {"mails_off"}
    server = "{host: 127.0.0.1, port: 9, security: tls}"
    mail.write_text(f"mail: {{enabled: true, server: {server}, sender: a@b.go.id, pages: 'https://p.go.id'}}\n")
    with closing(Database(tmp_path / "centre.db", create=True)) as database:
        assert judged(**named)["mails"].values == {"sent": 0, "waiting": 0}
        new = New("digest", "kadis", "u", "2026-09-01", "kadis@b.go.id", "Presensi", "1")
        with database.writing() as connection:
            mails.add(connection, [new], "2026-09-02T01:00:00.000Z")
        path = settings(tmp_path, "mqtt://127.0.0.1:9", **named)
        with editing(tmp_path / "accounts.yaml") as edited:
            edited.add(Account("kadis", Role.SUPERIOR, ("u",), None, None, "kadis@b.go.id"))
        code, output = central("-c", path, "mail", "run")  # nobody listens there
        assert (code, "0 sent, 1 to be tried again" in output) == (0, True), output
        step = judged(**named)["mails_failing"]
    assert step.outcome == "warned"
    assert step.values["waiting"] == step.values["failing"] == 1
    assert "Connection refused" in step.values["failure"]


def test_certificates_are_judged_by_their_end_and_their_authority(tmp_path: Path) -> None:
    """Of the pages by their files; one that has ended or does not fit its key is named."""

    def made(name: str, *more: str) -> tuple[str, str]:
        key, certificate = tmp_path / f"{name}-key.pem", tmp_path / f"{name}.pem"
        words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *more]
        words += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
        subprocess.run([*words], check=True, capture_output=True, timeout=WAIT_S)
        key.chmod(0o600)
        return str(certificate), str(key)

    steps = {}
    long, short = made("long", "-days", "400"), made("short", "-days", "5")
    for name, (certificate, key) in {"long": long, "short": short, "other": (long[0], short[1])}.items():
        pages = {"listen": f"127.0.0.1:{free_port()}", "cert_file": certificate, "key_file": key}
        path = settings(tmp_path, "mqtt://127.0.0.1:9", pages=pages)
        steps[name] = {step.finding for step in doctor._pages(load_settings(path))}
    assert steps == {
        "long": {"certificate", "pages_silent"},
        "short": {"certificate_ends", "pages_silent"},
        "other": {"bad_certificate", "pages_silent"},
    }
    with pytest.raises((ssl.SSLError, OSError)):
        certificate_in(str(tmp_path / "none.pem"), short[1])


def test_evidence_that_is_gone_and_gateways_without_a_sign_are_named(tmp_path: Path) -> None:
    """Content that a gateway had removed before it was requested again may have been a punch."""
    store, source = Store(tmp_path / "centre.db"), Source()
    store.begin_contact()
    pruned = source.punch(1)
    store.ingest([Message(f"{GATEWAY}/batch", batch(source.forget(pruned)))])
    store.lose_contact()
    later = datetime.now(UTC) + timedelta(minutes=2)
    with store.database.writing() as connection:
        contact.advance(connection, later)
    with store.database.reading() as connection:
        steps = {step.finding: step.values for step in doctor._evidence(survey(connection, later))}
    store.close()
    assert steps["gone"] == {"count": 1}
    assert steps["out_of_contact"] == {"names": GATEWAY}
    assert "away" not in steps


def test_numbers_and_reasons_of_libraries_read_in_the_language() -> None:
    """Thousands are grouped as Indonesian does, and what the system reports is named as such."""
    counted = doctor._text(Step("evidence", "passed", "gateways", {"count": Count(1_234)}), Language.INDONESIAN)
    assert counted.endswith(" 1.234")
    silent = next(broker_check.check_broker(BrokerSettings(url="mqtt://127.0.0.1:9")))
    assert "keterangan sistem: " in doctor._text(silent, Language.INDONESIAN)
    assert "sistem" not in doctor._text(silent, Language.ENGLISH)
    assert doctor._Mib(5_000 * 1024 * 1024).into(Language.INDONESIAN) == "5.000 MiB"


def test_every_finding_in_the_way_has_a_remedy() -> None:
    """And each code that the steps use has a text."""
    files = [Path(doctor.__file__), Path(doctor.__file__).with_name("broker_check.py")]
    used = set(re.findall(r'(passed|warned|failed)\((?:PART|"\w+"), "(\w+)"', "".join(map(Path.read_text, files))))
    assert len(used) > 40
    assert {code for _, code in used} <= FINDINGS.keys()
    assert [code for kind, code in used if kind != "passed" and FINDINGS[code][1] is None] == []


def test_on_a_server_the_advice_is_about_the_server(postgres: Server, tmp_path: Path) -> None:
    """Files, `restore` and the timer of copies are no help there, neither in the findings nor below an error."""
    name = postgres.fresh()
    secret = tmp_path / "database"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    url = postgres.url(name, tcp=True)
    path = settings(tmp_path, "mqtt://127.0.0.1:9", postgresql={"url": url, "password_file": str(secret)})
    steps = found(path)
    assert steps["no_database"].values == {"file": url}
    assert {"receiver_stopped", "copies_at_server"} <= steps.keys()
    Database(f"{url}?password_file={secret}", create=True).close()
    assert found(path)["database"].outcome == "passed"

    secret.write_text("wrong")
    steps = found(path)
    assert "password authentication failed" in steps["bad_server"].values["reason"]
    assert "no_copy" not in steps
    for words in (("status",), ("serial", "list")):
        code, output = central("-c", path, *words)
        assert code == Code.DISK
        assert output.splitlines()[1:] == [f"  {line}" for line in hint_lines("server")]
    postgres.drop(name)


def test_a_missing_standby_and_lanes_that_no_worker_holds_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server that waits for a standby, with workers that hold all lanes, some, and none."""
    monkeypatch.setattr(doctor, "LANE_S", 0.0)
    with Server(durable=True) as server, server.superuser() as administrator:
        url = server.url(server.fresh())
        Database(url, create=True).close()

        def at_server(*, synchronous: bool = False) -> dict[str, Step]:
            return {step.finding: step for step in doctor._server(url, synchronous=synchronous)}

        def wait_for(standby: str) -> None:
            administrator.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'".encode())
            administrator.execute("SELECT pg_reload_conf()")

        path = settings(tmp_path, "mqtt://127.0.0.1:9", postgresql={"url": url}, inbox={"synchronous": True})
        assert found(path)["standby_unset"].outcome == "failed"
        with Following(server, "cluster_name = 'siaga'"):
            wait_for("siaga")
            eventually(lambda: at_server().keys() == {"standby_hidden"}, what="the standby")
            administrator.execute(f"GRANT pg_monitor TO {ROLE}".encode())
            eventually(lambda: at_server().keys() == {"standby_synchronous"}, what="that it is synchronous")
            assert at_server()["standby_synchronous"].values == {"names": "siaga"}
        eventually(lambda: at_server().keys() == {"standby_missing"}, what="that it is gone")
        assert at_server()["standby_missing"].values == {"wanted": "siaga"}
        wait_for("")
        eventually(lambda: at_server().keys() == set(), what="that the server waits for none")

        with closing(Database(url)) as database, database.writing() as connection:
            lanes.begin_plan(connection, lanes.Plan(2, "hadir", "c"), lambda _site: 1, datetime.now(UTC))
        assert at_server().keys() == set()  # no worker runs, which is a finding of its own
        with psycopg.connect(url, autocommit=True) as worker:
            for first, second in ((WORKER_LOCKS, 7), (LANE_LOCKS, 0), (LANE_LOCKS, 2)):
                worker.execute(f"SELECT pg_advisory_lock({first}, {second})".encode())
            free = at_server()["lanes_free"]
            assert (free.outcome, free.values) == ("failed", {"lanes": "1"})
            worker.execute(f"SELECT pg_advisory_lock({LANE_LOCKS}, 1)".encode())
            assert at_server().keys() == {"lanes_held"}
            worker.execute(f"SELECT pg_advisory_unlock({LANE_LOCKS}, 0)".encode())
            assert at_server()["lanes_free"].values == {"lanes": "0 (door)"}
