"""Mails by a real server over TLS: counts only, each once, and what goes wrong costs one mail."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from typer.testing import CliRunner

from central.cli import app
from central.mail.making import address_of, alarms, digest, mails_due
from central.mail.sending import IN_A_ROW, WAITS_S, Outcome, Sending
from central.mail.settings import MailSettingsError, Server, Settings, load_settings
from central.policy.office import OfficePolicies
from central.reports.days import Judged
from central.store import mails, marks
from central.store.engine import utc
from central.store.mails import New
from central.texts import Language
from central.timesheet.affected import Mark, Reading, read_key
from central.web.access import Role
from central.web.accounts import Account
from tests.authority import Authority, Certificate
from tests.central.store.office import POLICIES, Centre

BOTH_STORES = True

PASSWORD = "a sentence for the mail server"
NOW = datetime(2026, 9, 2, 3, tzinfo=UTC)
HOSTILE = "Dinas\r\nBcc: thief@example.com\r\n\r\n\x1b[2J" + "x" * 10_000


class Office:
    """What a mail server does with each recipient: takes it, or misbehaves by the name before the @."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, EmailMessage]] = []
        self.logins = 0

    def __call__(self, _server: Any, _session: Session, _envelope: Envelope, _kind: str, given: Any) -> AuthResult:
        """Verify a login."""
        self.logins += 1
        right = isinstance(given, LoginPassword) and given.password == PASSWORD.encode()
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(  # noqa: N802 - named by aiosmtpd
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take a recipient, or do what its name states."""
        match address.partition("@")[0]:
            case "gone":
                return "550 no such\x1b[2J mailbox"
            case "later":
                return "451 greylisted"
            case "hangs":
                await asyncio.sleep(3_600)
            case "cuts":
                assert server.transport is not None
                server.transport.close()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - as above
        """Take a mail, over TLS alone."""
        assert server.transport is not None
        assert server.transport.get_extra_info("ssl_object") is not None
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append((envelope.rcpt_tos[0], message))
        return "250 OK"


@contextmanager
def serving(office: Office, *, smtps: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    """Run a server in a thread, and yield its port; ``smtps``: it speaks TLS from the first byte."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def listen() -> asyncio.Server:
        return await loop.create_server(lambda: SMTP(office, loop=loop, **options), "127.0.0.1", 0, ssl=smtps)

    async def close(server: asyncio.Server) -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        server = asyncio.run_coroutine_threadsafe(listen(), loop).result(60)
        yield server.sockets[0].getsockname()[1]
        asyncio.run_coroutine_threadsafe(close(server), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def tls_of(certificate: Certificate) -> ssl.SSLContext:
    """Return the server's side of TLS."""
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*certificate)
    return tls


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority whose certificates are good for 127.0.0.1."""
    return Authority(tmp_path_factory.mktemp("mail"), "post")


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Certificate:
    """Return the server's certificate."""
    return authority.issue("server")


@pytest.fixture
def office() -> Office:
    """Return what the server does."""
    return Office()


@pytest.fixture
def port(office: Office, certificate: Certificate) -> Iterator[int]:
    """Yield the port of a server that demands STARTTLS and a login."""
    tls = tls_of(certificate)
    with serving(office, authenticator=office, require_starttls=True, tls_context=tls, auth_required=True) as found:
        yield found


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    """Yield a centre with a database and nothing in it."""
    found = Centre(tmp_path, NOW)
    yield found
    found.close()


def server_at(port: int, folder: Path, authority: Authority | None, **more: Any) -> Server:
    """Return settings of the server."""
    file = folder / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    ca = None if authority is None else authority.ca
    login = {"username": "centre", "password_file": file}
    return Server(**{"host": "127.0.0.1", "port": port, "security": "starttls", "ca_file": ca, **login, **more})


def queue(centre: Centre, *names: str) -> None:
    """Let mails wait."""
    new = [New("digest", name, "dinas", "2026-09-01", f"{name}@example.go.id", "Presensi", "1\n") for name in names]
    with centre.database.writing() as connection:
        assert mails.add(connection, new, "2026-09-02T03:00:00.000Z") == len(new)


def send(centre: Centre, server: Server, **more: Any) -> Outcome:
    """Send what waits."""
    return Sending(centre.database, server, "centre@example.go.id", lambda: centre.now, **more).run()


def counts(centre: Centre) -> mails.Counts:
    """Return what became of the mails."""
    with centre.database.reading() as connection:
        return mails.counts(connection)


def test_what_goes_wrong_with_a_mail_costs_that_mail(
    centre: Centre, office: Office, port: int, authority: Authority
) -> None:
    """It is tried again with longer pauses, or given up; the others arrive, each once, also with two runs at once."""
    queue(centre, "a", "gone", "b", "later", "c", "cuts", "d", "e")
    server = server_at(port, centre.folder, authority)
    with ThreadPoolExecutor(2) as runs:
        outcomes = [one.result() for one in [runs.submit(send, centre, server) for _ in range(2)]]
    assert [sum(one) for one in zip(*outcomes, strict=True)] == [5, 2, 1]
    arrived = sorted(address.partition("@")[0] for address, _ in office.taken)
    assert arrived == ["a", "b", "c", "d", "e"]
    assert send(centre, server) == Outcome(0, 0, 0)
    assert counts(centre)[:4] == (2, 2, 1, 5)
    for wait_s in WAITS_S:
        centre.now += timedelta(seconds=wait_s)
        send(centre, server)
    assert counts(centre)[:4] == (0, 0, 3, 5)
    with centre.database.reading() as connection:
        refused = connection.exec_driver_sql("SELECT account, refused FROM mail WHERE refused IS NOT NULL").all()
    failures = {row.account: row.refused for row in refused}
    assert failures["gone"] == "550 no such [2J mailbox"
    assert failures["later"] == "451 greylisted"
    assert failures["cuts"] == "the server does not answer, or has closed the connection"


@pytest.mark.file_only  # of the mail server alone
@pytest.mark.parametrize("limit", [{"timeout_s": 1.0}, {"deadline_s": 1.0}], ids=str)
def test_a_server_that_hangs_is_cut_off(
    centre: Centre, office: Office, port: int, authority: Authority, limit: dict[str, float]
) -> None:
    """Where an answer stays away, and where the mail as a whole takes too long."""
    queue(centre, "hangs")
    assert send(centre, server_at(port, centre.folder, authority), **limit) == Outcome(0, 1, 0)
    assert counts(centre).last_failure == "the server does not answer, or has closed the connection"
    assert office.taken == []


@pytest.mark.file_only  # as above
@pytest.mark.parametrize("wrong", ["authority", "name", "expired", "plain", "down", "login"])
def test_nothing_is_sent_to_a_server_that_is_not_the_right_one(
    centre: Centre, office: Office, port: int, authority: Authority, tmp_path: Path, wrong: str
) -> None:
    """No login and no mail; after some mails in a row the run ends, and all of them wait."""
    queue(centre, *"abcdefgh")
    server = server_at(port, tmp_path, authority)
    if wrong == "authority":
        server = server_at(port, tmp_path, Authority(tmp_path, "other"))
    elif wrong == "name":
        server = server_at(port, tmp_path, authority, host="localhost")
    elif wrong == "down":
        server = server_at(1, tmp_path, authority)
    elif wrong == "login":
        (tmp_path / "password").write_text("another sentence altogether")
    if wrong in ("expired", "plain"):
        tls = tls_of(authority.issue("expired", expired=True)) if wrong == "expired" else None
        with serving(office, authenticator=office, auth_require_tls=False, tls_context=tls) as other:
            assert send(centre, server_at(other, tmp_path, authority)) == Outcome(0, IN_A_ROW, 0)
    else:
        assert send(centre, server) == Outcome(0, IN_A_ROW, 0)
    assert office.taken == []
    assert bool(office.logins) is (wrong == "login")
    found = counts(centre)
    assert found[:4] == (8, IN_A_ROW, 0, 0)
    if wrong in ("authority", "name", "expired"):
        assert found.last_failure is not None
        assert "certificate" in found.last_failure


# Longer than 60 lines: one day; each part of it goes on from the one before.
def test_a_day_of_the_office(tmp_path: Path, office: Office, authority: Authority, certificate: Certificate) -> None:
    """By the command, over TLS from the first byte: who gets what, once, without a name, a PIN or a key of a person."""
    centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    centre.enter_office()
    centre.punched("1001", "2026-09-01 07:45:00", "2026-09-01 16:05:00")
    centre.punched("9999", "2026-09-01 07:46:00")
    centre.at("2026-09-02 07:59")
    (tmp_path / "accounts.yaml").write_text(
        "accounts:\n"
        "  chief: {role: superior, units: [dinas], mail: chief@example.go.id}\n"
        "  boss: {role: superior, units: [dinas], mail: boss@example.go.id, language: en}\n"
        "  quiet: {role: superior, units: [dinas]}\n"
        "  staff: {role: operator, units: [dinas], mail: staff@example.go.id, language: en}\n"
        "  head: {role: bkd, mail: head@example.go.id}\n"
    )
    (tmp_path / "accounts.yaml").chmod(0o600)
    settings = tmp_path / "mail.yaml"
    with serving(office, smtps=tls_of(certificate)) as port:
        server = f"{{host: 127.0.0.1, port: {port}, security: tls, ca_file: {authority.ca}}}"
        text = (
            f"mail:\n  enabled: false\n  server: {server}\n  sender: centre@example.go.id\n"
            "  pages: https://presensi.example.go.id/\n  least_people: 2\n"
        )

        def run(*words: str) -> str:
            given = ["mail", *words, "--db", str(centre.database.address)]
            if words[0] in ("run", "preview"):
                given += ["--accounts", str(tmp_path / "accounts.yaml"), "--settings", str(settings)]
                given += ["--policies", str(POLICIES)]
            result = CliRunner().invoke(app, given, obj=lambda: centre.now)
            assert result.exit_code == 0, result.output
            return result.output

        settings.write_text(text)
        assert "switched off" in run("run")
        settings.write_text(text.replace("false", "true"))
        run("run")
        assert [address for address, _ in office.taken] == [
            "staff@example.go.id"
        ]  # an unknown PIN; too early for digests
        centre.at("2026-09-02 08:00")
        assert "To: boss@example.go.id" in run("preview")
        run("run")
        run("run")
        centre.at("2026-09-02 09:00")
        run("run")
        found = {address.partition("@")[0]: message for address, message in office.taken}
        assert sorted(found) == ["boss", "chief", "staff"]
        assert len(office.taken) == 3
        text = found["boss"].get_content()
        assert (found["boss"]["Subject"], found["boss"]["To"]) == ("Attendance Dinas, 2026-09-01", "boss@example.go.id")
        assert "Dinas, 2026-09-01: 2 people" in text
        assert "https://presensi.example.go.id/today/dinas?date=2026-09-01" in text
        assert "Presensi" in found["chief"]["Subject"]
        assert found["staff"]["Subject"] == "Attendance: 1 PINs of yesterday belong to no person"
        for message in found.values():
            shown = message.get_content()
            assert not {word for word in ("Contoh", "1001", "1002", "9999", "p-1") if word in shown}
        centre.at("2026-09-05 09:00")
        run("run")
        assert len(office.taken) == 5  # the digests of Friday
        centre.at("2026-09-07 07:00")
        run("run")
        centre.at("2026-09-07 09:00")
        run("run")
        assert len(office.taken) == 5  # nobody was to be there on Sunday
        assert "5 sent" in run("status")
    centre.close()


def test_a_digest_waits_for_changes_that_are_not_judged_and_goes_where_its_account_is_now(tmp_path: Path) -> None:
    """For two hours, then it states how many wait. An address or a role that changed counts until a mail is sent."""
    centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    centre.enter_office()
    accounts = {one.name: one for one in (account(), replace(account(Role.OPERATOR), name="staff"))}
    settings = Settings(pages="https://presensi.example.go.id", least_people=2)

    def due() -> dict[str, New]:
        with centre.database.reading() as connection:
            found = mails_due(connection, accounts.values(), OfficePolicies(POLICIES), settings, centre.now)
            return {one.kind: one for one in found}

    centre.at("2026-09-02 08:01")
    assert "digest" in due()
    centre.punched("1001", "2026-09-01 07:45:00")
    assert "digest" not in due()
    centre.now += timedelta(hours=2)
    assert "changes wait to be judged" in due()["digest"].text
    with centre.database.writing() as connection:
        own = len(marks.waiting(connection, 99))
        for subject in ("person:elsewhere", "unit:elsewhere", "terminal:X9 1", read_key(Reading("x-1", "X9", "1", 0))):
            marks.mark(connection, [Mark(subject, date(2026, 9, 1), date(2026, 9, 1))], {"kind": "x"}, utc(NOW))
        for one in marks.waiting(connection, 99):
            marks.set_aside(connection, one.id, "x")
    assert (due()["alarm"].subject_of, due()["alarm"].subject) == (
        "failed",
        f"Attendance: {own} changes could not be judged",
    )
    with centre.database.writing() as connection:
        mails.add(connection, due().values(), utc(NOW))
        accounts["chief"] = replace(accounts["chief"], mail="new@example.go.id")
        accounts["staff"] = replace(accounts["staff"], role=Role.SUPERIOR)
        mails.readdress(connection, partial(address_of, accounts), "not due")
        assert mails.claim(connection, 1, 2).address == "new@example.go.id"  # type: ignore[union-attr]  # there is one
        assert mails.claim(connection, 1, 2) is None
    assert counts(centre)[:3] == (1, 1, 1)
    centre.close()


def test_a_date_without_any_verdict_is_announced_and_one_without_duty_is_not(tmp_path: Path) -> None:
    """Nothing judges: silence would look like a day off. After two hours the superior reads that; never on a Sunday."""
    centre = Centre(tmp_path, datetime(2026, 8, 29, 20, tzinfo=UTC))
    centre.enter_office()
    settings = Settings(pages="https://presensi.example.go.id", least_people=2)

    def due(moment: str) -> list[str]:
        centre.now = datetime.fromisoformat(f"{moment}+07:00")
        with centre.database.reading() as connection:
            found = mails_due(connection, [account()], OfficePolicies(POLICIES), settings, centre.now)
            return [one.text for one in found if one.kind == "digest"]

    assert due("2026-09-02 08:30") == []
    (text,) = due("2026-09-02 10:01")
    assert "     2  not judged" in text
    assert "No verdict on this date is there yet." in text
    centre.at("2026-08-31 12:00")
    assert due("2026-08-31 12:00") == []  # of a Sunday
    centre.close()


def test_people_without_an_assignment_make_no_digest_of_a_sunday_of_the_others(tmp_path: Path) -> None:
    """An office that takes its units in one by one: the superior of all gets a digest of working days only."""
    centre = Centre(tmp_path, datetime(2026, 8, 29, 20, tzinfo=UTC))
    centre.enter_office()
    rows = "kota,Kota,,Asia/Jakarta,2026-01-01,", "bidang,Bidang,kota,,2026-01-01,", "dinas,Dinas,kota,,2026-01-01,"
    centre.enter("units", "\n".join(("key,name,parent,zone,from,until", *rows, "")))
    centre.enter("people", "key,name,employment,unit,from,until\nc,Contoh Tiga,pns,bidang,2026-08-24,\n")
    settings = Settings(pages="https://presensi.example.go.id", least_people=2)
    chief = replace(account(), units=("kota",))
    made = []
    for moment in ("2026-08-31 12:00", "2026-09-01 12:00"):
        centre.at(moment)
        with centre.database.reading() as connection:
            found = mails_due(connection, [chief], OfficePolicies(POLICIES), settings, centre.now)
            made.append([one.text for one in found if one.kind == "digest"])
    centre.close()
    assert made[0] == []
    assert "     1  not judged" in made[1][0]


def test_a_digest_of_the_late_evening_waits_for_no_change_beyond_its_day(tmp_path: Path) -> None:
    """After midnight yesterday is another date: the digest would never be sent."""
    centre = Centre(tmp_path, datetime(2026, 8, 30, 20, tzinfo=UTC))
    centre.enter_office()
    settings = Settings(pages="https://presensi.example.go.id", digest_from="22:30")

    def due(moment: str, settings: Settings) -> list[str]:
        centre.now = datetime.fromisoformat(f"2026-09-02 {moment}+07:00")
        with centre.database.reading() as connection:
            found = mails_due(connection, [account()], OfficePolicies(POLICIES), settings, centre.now)
            return [one.day for one in found]

    centre.at("2026-09-02 22:00")
    centre.punched("1001", "2026-09-01 07:45:00")
    assert due("22:59", settings) == []
    assert due("23:00", settings) == ["2026-09-01"]
    assert due("23:30", settings.model_copy(update={"digest_from": "23:30"})) == ["2026-09-01"]
    centre.close()


def account(role: Role = Role.SUPERIOR, language: Language = Language.ENGLISH) -> Account:
    """Return an account with an address."""
    return Account("chief", role, ("dinas",), None, None, "chief@example.go.id", language)


def test_a_name_of_a_unit_makes_no_header_and_no_long_line(
    centre: Centre, office: Office, port: int, authority: Authority
) -> None:
    """Whatever an office has entered: one line of bounded length, in the subject and in the text."""
    days = [Judged(f"p-{number}", "Contoh", "dinas", None, None) for number in range(6)]
    mail = digest(account(), "dinas", HOSTILE, date(2026, 9, 1), days, "https://x/today/dinas", 5)
    alarm = next(alarms(account(Role.OPERATOR), date(2026, 9, 1), {"offline": 3}, "https://x/evidence"))
    hostile = alarm._replace(subject=HOSTILE, subject_of="more", address="chief@example.go.id")
    with centre.database.writing() as connection:
        mails.add(
            connection,
            [mail, alarm, hostile, hostile._replace(day="x", address="a@b.go.id\nBcc: c@d")],
            "2026-09-02T03:00:00Z",
        )
    assert send(centre, server_at(port, centre.folder, authority)) == Outcome(3, 0, 1)
    for address, message in office.taken:
        assert address == "chief@example.go.id"
        assert message["Bcc"] is None
        assert len(message["Subject"]) < 250
        assert len(message.get_content()) < 1_000
        assert "\x1b" not in message.get_content() + message["Subject"]
    assert "3 gateways are offline." in office.taken[1][1].get_content()


@pytest.mark.file_only  # of no database
def test_of_few_people_no_counts_are_sent() -> None:
    """One absent of one would name the person."""
    day = {"slots": [], "absent": True, "status": "final", "excused": {}}
    days = [Judged("p", "Contoh", "dinas", day, None)] * 4
    few = digest(account(), "dinas", "UPT", date(2026, 9, 1), days, "https://x", 5)
    assert "fewer than 5 people" in few.text
    assert "absent" not in few.text
    assert "     5  absent" in digest(account(), "dinas", "UPT", date(2026, 9, 1), days + days[:1], "https://x", 5).text


EXAMPLE = Path(__file__).parents[3] / "config" / "mail.example.yaml"


@pytest.mark.file_only  # of no database
@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ("security: starttls", "security: none", "security"),
        ("port: 587", "port: 0", "port"),
        ("sender: presensi@example.go.id", "sender: 'a@b.go.id, c@d.go.id'", "one plain address"),
        ("pages: https://presensi.example.go.id", "pages: 'javascript:alert(1)'", "address of the pages"),
        ("username: null", "username: x", "a login needs both"),
        ("  pages: https://presensi.example.go.id\n", "", "pages missing"),
        ("password_file: null", "password_file: open", "everybody here can read it"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, before: str, after: str, why: str) -> None:
    """And the example can, which sends nothing."""
    assert load_settings(EXAMPLE).enabled is False
    (tmp_path / "open").write_text("x")
    (tmp_path / "open").chmod(0o644)
    text = EXAMPLE.read_text().replace("enabled: false", "enabled: true").replace(before, after)
    if "open" in after:
        text = text.replace("open", str(tmp_path / "open")).replace("username: null", "username: x")
    (tmp_path / "mail.yaml").write_text(text)
    with pytest.raises(MailSettingsError, match=why) as raised:
        load_settings(tmp_path / "mail.yaml")
    assert raised.value.into(Language.INDONESIAN) != str(raised.value)
    assert "sistem" not in raised.value.into(Language.INDONESIAN), "it has words of its own"
