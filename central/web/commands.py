"""The commands ``hadir-central serve`` and ``hadir-central account``."""
# ruff: noqa: T201 - a command line prints

import getpass
import ipaddress
import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from central.log import configure_logging
from central.operation.tasks import Tasks, read_tasks
from central.options import AsJson, Db, Now, Policies, clock_of, system_now
from central.registers.problems import printable
from central.secret import SecretError, read_secret
from central.settings import address_of, check_loopback, check_public, check_standby
from central.sheets.settings import SettingsError
from central.store import accesses
from central.store.engine import Database, is_url
from central.texts import Language
from central.web.access import WITH_UNITS, Role
from central.web.accounts import MAIL, NAME, Account, AccountFile, AccountsError, editing, read_accounts

if TYPE_CHECKING:
    from central.web.database import Source

File = Annotated[Path, typer.Option("--accounts", metavar="FILE", help="The file of accounts (YAML).")]
PasswordFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A file that holds the password; else it is entered.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="a-z, 0-9, dot, hyphen, underscore.")]
Units = Annotated[
    list[str] | None, typer.Option("--unit", metavar="KEY", help="A unit with all below it; may be repeated.")
]
Person = Annotated[str | None, typer.Option(metavar="KEY", help="The person whose account it is.")]


def _address_of_mail(address: str | None) -> str | None:
    if address is not None and not MAIL.fullmatch(address):
        raise typer.BadParameter("write one plain address, such as siti@example.go.id.")
    return address


Mail = Annotated[
    str | None,
    typer.Option(callback=_address_of_mail, metavar="ADDRESS", help="Where its digest or alarms are sent."),
]
MailLanguage = Annotated[Language, typer.Option(help="Language of its mails.")]

app = typer.Typer(no_args_is_help=True, help="Accounts of the pages: who may see and do what.")


def _refuse(message: str) -> NoReturn:
    print(f"hadir-central: {message}", file=sys.stderr)
    raise typer.Exit(1)


def _passwords() -> Any:
    """Return the module of the hashes; it needs a library of the extra ``centre``."""
    try:
        from central.web import passwords  # noqa: PLC0415 - a library that not every installation has
    except ModuleNotFoundError:
        _refuse(
            "passwords need argon2-cffi: pip install 'hadir-gateway[centre]'. 32-bit ARM has no ready-made one: "
            "run the pages on a 64-bit system"
        )
    return passwords


@app.command("add")
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What the account is for.")],
    accounts: File,
    unit: Units = None,
    person: Person = None,
    password_file: PasswordFile = None,
    mail: Mail = None,
    language: MailLanguage = Language.INDONESIAN,
) -> None:
    """Add an account, and set its password. Tambah akun dan kata sandinya."""
    hashing = _passwords()
    if not NAME.fullmatch(name):
        raise typer.BadParameter("write a-z, 0-9, dot, hyphen and underscore, at most 64.", param_hint="NAME")
    if role in WITH_UNITS and not unit:
        raise typer.BadParameter(f"the role {role} needs --unit KEY.", param_hint="--unit")
    if role not in WITH_UNITS and unit:
        raise typer.BadParameter(f"the role {role} has no units.", param_hint="--unit")
    if role is Role.PERSON and person is None:
        raise typer.BadParameter("the role person needs --person KEY.", param_hint="--person")
    try:
        if accounts.exists() and name in read_accounts(accounts):
            _refuse(f"{accounts}: there is an account {name}; `account passwd` changes its password")
        password = hashing.hash_password(_new_password(password_file, hashing))
        with editing(accounts) as edited:
            edited.add(Account(name, role, tuple(dict.fromkeys(unit or ())), person, password, mail, language))
    except AccountsError as error:
        _refuse(str(error))
    print(f"{name} can log in ({role})")
    if role is Role.PERSON:
        print(f"{name} can log in only where the pages are served with --own-days")
    if person is None and role in (Role.SUPERIOR, Role.BKD):
        print(f"{name} cannot approve requests without --person KEY: whose own request it is could not be known")


@app.command("passwd")
def passwd(name: Name, accounts: File, password_file: PasswordFile = None) -> None:
    """Set another password; browsers that are logged in have to log in again. Ganti kata sandi."""
    hashing = _passwords()
    try:
        with editing(accounts) as edited:
            edited.existing(name)
        password = hashing.hash_password(_new_password(password_file, hashing))
        with editing(accounts) as edited:
            edited.put(replace(edited.existing(name), password=password))
    except AccountsError as error:
        _refuse(str(error))
    print(f"{name} has another password")


@app.command("mail")
def set_mail(
    name: Name,
    accounts: File,
    address: Annotated[
        str | None, typer.Option(callback=_address_of_mail, metavar="ADDRESS", help="Else none.")
    ] = None,
    language: MailLanguage = Language.INDONESIAN,
) -> None:
    """Set where an account's mails go, or that none are sent to it. Alamat surel akun."""
    try:
        with editing(accounts) as edited:
            edited.put(replace(edited.existing(name), mail=address, language=language))
    except AccountsError as error:
        _refuse(str(error))
    print(f"{name} gets no mails" if address is None else f"mails of {name} go to {address}")


@app.command("list")
def list_accounts(accounts: File, as_json: AsJson = False) -> None:
    """Show the accounts, without their hashes. Tampilkan akun."""
    try:
        found = read_accounts(accounts)
    except AccountsError as error:
        _refuse(str(error))
    if as_json:
        rows = [
            {
                "name": one.name,
                "role": one.role,
                "units": one.units,
                "person": one.person,
                "can_log_in": one.password is not None,
                "mail": one.mail,
                "language": one.language,
            }
            for one in found.values()
        ]
        print(json.dumps(rows, indent=2))
        return
    for one in found.values():
        more = [f"units {', '.join(one.units)}" if one.units else "", f"person {one.person}" if one.person else ""]
        more.append("" if one.password else "no password yet")
        print("  ".join(filter(None, (f"{one.name:20}", f"{one.role:9}", *more))).rstrip())


@app.command("remove")
def remove(name: Name, accounts: File) -> None:
    """Remove an account; browsers that are logged in with it are logged out. Hapus akun."""
    try:
        with editing(accounts) as edited:
            edited.remove(name)
    except AccountsError as error:
        _refuse(str(error))
    print(f"{name} is removed; what it has done stays in the access log")


def _new_password(file: Path | None, hashing: Any) -> str:
    if file is not None:
        try:
            password = read_secret(file)
        except (OSError, SecretError) as error:
            raise AccountsError(f"{file}: {error}") from None
    elif sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Once more: ") != password:
            raise AccountsError("the two passwords differ; nothing was changed")
    else:
        raise AccountsError("no screen to enter a password at; write it into a file and name it with --password-file")
    if not hashing.SHORTEST <= len(password) <= hashing.LONGEST:
        raise AccountsError(f"a password has {hashing.SHORTEST} to {hashing.LONGEST} characters; a sentence is best")
    return password


access = typer.Typer(no_args_is_help=True, help="The log of who looked at whose data.")


@access.command("verify")
def verify_access(db: Db) -> None:
    """Recompute the digest of every line of the access log; exit code 1 where one is altered or missing.

    Periksa keutuhan catatan akses.
    """
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = accesses.verify(connection)
    if found.broken is not None:
        print(f"WRONG: line {found.broken} of the access log does not follow from the one before it")
        raise typer.Exit(1)
    print(f"OK: {found.rows} lines; digest of the last one: {found.digest or '-'}")
    print("Compare both with what an auditor has noted: a log that was cut off or made anew is whole in itself.")


@access.command("list")
def list_accesses(
    db: Db,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Looks of one account.")] = None,
    person: Annotated[str | None, typer.Option(metavar="KEY", help="Looks at one person.")] = None,
    unit: Annotated[str | None, typer.Option(metavar="KEY", help="Looks at one unit.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Lines, the newest first.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Show who looked at whose data. Tampilkan siapa melihat data siapa."""
    with closing(Database(db, read_only=True)) as database, database.reading() as connection:
        found = accesses.newest(connection, most, account=account, person=person, unit=unit)
    if as_json:
        print(json.dumps([{"id": one.id, **one.access._asdict(), "digest": one.digest} for one in found], indent=2))
        return
    for one in found:
        look = one.access
        whose = " ".join(filter(None, (look.person, look.unit, look.first, look.last)))
        refused = " refused" if look.refused else ""
        print(printable(f"{one.id} {look.at} {look.account} ({look.role}) {look.address} {look.what}{refused} {whose}"))


def _standby(db: Path | str, read_from: str | None) -> str | None:
    if read_from is None:
        return None
    try:
        check_standby(read_from)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--read-from") from None
    if not is_url(db):
        raise typer.BadParameter(
            "a database in a file has no standby; leave it out, or name the server's database with --db.",
            param_hint="--read-from",
        )
    return read_from


# Longer than 60 lines: half of them declare the options.
def serve(
    context: typer.Context,
    db: Db,
    accounts: File,
    listen: Annotated[str, typer.Option(metavar="ADDRESS:PORT", help="Where the pages are served.")] = "127.0.0.1:8090",
    cert_file: Annotated[Path | None, typer.Option(metavar="FILE", help="The server's certificate (PEM).")] = None,
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key (PEM).")] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="https://NAME of the reverse proxy before this server.")
    ] = None,
    proxy: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Where the reverse proxy connects from; else loopback.")
    ] = None,
    policies: Policies = None,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE", help="Of sheets (YAML): signatories, leave codes, place."),
    ] = None,
    own_days: Annotated[bool, typer.Option("--own-days", help="Let accounts with the role person log in.")] = False,
    metrics: Annotated[
        str | None, typer.Option(metavar="ADDRESS:PORT", help="Where Prometheus reads /metrics; loopback only.")
    ] = None,
    tasks: Tasks = None,
    read_from: Annotated[
        str | None, typer.Option(metavar="URL", help="A standby of the PostgreSQL database that the pages read.")
    ] = None,
) -> None:
    """Serve the pages for superiors, operators, the personnel agency and auditors, until SIGTERM or Ctrl-C.

    Halaman presensi untuk atasan, operator, BKD dan pemeriksa.
    """
    _passwords()
    from central.web.app import Centre  # noqa: PLC0415 - other commands start faster without the server
    from central.web.database import Source  # noqa: PLC0415
    from central.web.guard import Site  # noqa: PLC0415
    from central.web.server import Tls, open_socket  # noqa: PLC0415
    from central.web.server import serve as run  # noqa: PLC0415

    host, port = _address(listen)
    public = None if public_url is None else _public(public_url)
    _check_tls(host, cert_file, key_file, public)
    proxies = proxy or ["127.0.0.1", "::1"]
    site = Site(listens=host, tls=cert_file is not None, public_url=public, proxies=proxies)
    try:
        known = AccountFile(accounts)
    except AccountsError as error:
        _refuse(str(error))
    source = Source(db, _standby(db, read_from))
    configure_logging()
    try:
        listening = open_socket(host, port)
    except OSError as error:
        source.close()
        _refuse(f"{listen}: {error.strerror or error}; another program may use the port: choose another one, --listen")
    try:
        centre = Centre(
            source,
            known,
            site=site,
            policies=policies,
            own_days=own_days,
            now=clock_of(context),
            session_now=system_now,
            settings=settings,
        )
    except SettingsError as error:
        source.close()
        listening.close()
        both = dict.fromkeys((error.into(Language.ENGLISH), error.into(Language.INDONESIAN)))
        raise typer.BadParameter("\n".join(both), param_hint="--settings") from None
    scheme = "https" if cert_file is not None else "http"
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    tls = None if cert_file is None or key_file is None else Tls(cert_file, key_file)
    ours = f"{scheme}://{shown}:{port}/"
    addresses = ours if public is None else f"{public}/ by way of {ours}"
    with listening, _metrics(metrics, source, tasks, clock_of(context), _folder(db)):
        run(centre, site, tls, listening, lambda: print(addresses, flush=True))


def _folder(db: str) -> Path:
    """Return the folder of the database's file; of one on a server the present one, whose disk is this machine's."""
    return Path() if is_url(db) else Path(db).parent


@contextmanager
def _metrics(listen: str | None, source: "Source", tasks: Path | None, now: Now, folder: Path) -> Iterator[None]:
    """Answer `/metrics` for the length of a block, where an address is given."""
    if listen is None:
        yield
        return
    from central.operation.metrics import Metrics, serve_metrics  # noqa: PLC0415 - of the extra `centre`, as the server

    try:
        host, port = address_of(check_loopback(listen))
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--metrics") from None
    collector = Metrics(source.reading, lambda: read_tasks(tasks), version("hadir-gateway"), now, folder)
    try:
        port, close = serve_metrics(collector, host, port)
    except OSError as error:
        _refuse(f"{listen}: {error.strerror or error}; another program may use the port: choose another one, --metrics")
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/metrics", flush=True)
    try:
        yield
    finally:
        close()


def _address(listen: str) -> tuple[str, int]:
    try:
        return address_of(listen)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--listen") from None


def _public(url: str) -> str:
    try:
        return check_public(url)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.", param_hint="--public-url") from None


def _check_tls(host: str, cert_file: Path | None, key_file: Path | None, public: str | None) -> None:
    if (cert_file is None) != (key_file is None):
        raise typer.BadParameter("a certificate needs its key, and a key its certificate.", param_hint="--cert-file")
    for option, file in (("--cert-file", cert_file), ("--key-file", key_file)):
        if file is not None and not file.is_file():
            raise typer.BadParameter(f"{file} is no file.", param_hint=option)
    if key_file is not None and key_file.stat().st_mode & 0o007:
        raise typer.BadParameter(f"everybody here can read it; run: chmod 600 {key_file}", param_hint="--key-file")
    if cert_file is None and public is None and not ipaddress.ip_address(host).is_loopback:
        raise typer.BadParameter(
            "passwords and people's data would cross the network unencrypted. Name --cert-file and --key-file, or "
            "leave it on 127.0.0.1 behind a web server with TLS and name its --public-url.",
            param_hint="--listen",
        )
