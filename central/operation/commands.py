"""The commands ``hadir-central init`` and ``check``."""
# ruff: noqa: T201 - a command line prints

import json
import re
import secrets
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from central.files import create_file, create_folder, sync_folder
from central.operation.messages import COMMENTS, INIT, QUESTIONS, WRONG
from central.options import clock_of, settings_path
from central.policy.load import SHIPPED
from central.policy.office import OfficePolicies
from central.secret import SecretError, read_secret
from central.settings import address_of, check_public, check_url, load_settings
from central.texts import Language, user_language
from central.web.access import Role
from central.web.accounts import NAME, Account, editing

NONE = "-"
"""The answer that means *none*."""
PASSWORD, FIRST_PASSWORD = "secrets/broker-password", "secrets/first-password"
"""Files beside the settings: the centre's password at the broker, and that of the first account where it was made."""
STARTER = "starter"
"""The policy that is proposed: it measures, and cuts nothing."""
WORDS = 5
"""Groups of letters and digits in a password that is made by chance; each has 20 bits."""
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
"""No character that looks like another one."""


def _refuse(message: str, code: int = 1) -> NoReturn:
    print(f"hadir-central: {message}", file=sys.stderr)
    raise typer.Exit(code)


@dataclass
class _Plan:
    """All that is written, in one step at the end."""

    data: Path
    broker: str
    username: str | None
    account: str
    policy: str
    unit: str
    password: str | None = None
    ca_file: Path | None = None
    account_password: str = ""
    made_password: bool = False
    listen: str = "127.0.0.1:8090"
    public_url: str | None = None
    files: list[Path] = field(default_factory=list)
    """What has been made so far: files, and folders before what is in them."""


class _Prompter:
    """Takes each answer from its option, or from the person; without either, the default.

    A wrong answer of a person repeats the question; a wrong option ends the command.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self.interactive = sys.stdin.isatty()

    def answer(
        self,
        question: str,
        given: str | None,
        read: Callable[[str], Any],
        default: str | None = None,
        *,
        hidden: bool = False,
    ) -> Any:
        """Return the answer as ``read`` returns it, which raises ValueError for a wrong one."""
        option = f"--{question.replace('_', '-')}"
        if given is None and not self.interactive:
            if default is None:
                raise typer.BadParameter("needed where no person answers.", param_hint=option)
            given = default
        if given is not None:
            try:
                return read(given)
            except ValueError:
                raise typer.BadParameter(self.wrong(question), param_hint=option) from None
        while True:
            text = QUESTIONS[question].into(self.language)
            typed = typer.prompt(text, default=default, hide_input=hidden, show_default=bool(default), err=True)
            try:
                return read(typed if hidden else typed.strip())
            except ValueError:
                print(f"  {self.wrong(question)}", file=sys.stderr)

    def wrong(self, question: str) -> str:
        """Return why an answer is wrong."""
        return WRONG[question].into(self.language, names=", ".join(_policies()))


# Longer than 60 lines: a third of them declare the options; then the questions follow in their order.
def init(
    context: typer.Context,
    data: Annotated[str | None, typer.Option(metavar="FOLDER", help="For database, accounts and copies.")] = None,
    broker: Annotated[str | None, typer.Option(metavar="URL", help="mqtts://host:8883 or mqtt://host:1883.")] = None,
    username: Annotated[str | None, typer.Option(metavar="NAME", help="User name at the broker.")] = None,
    password_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file that holds its password.")] = None,
    ca_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Certificate of the broker's authority, if not the system's.")
    ] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="The first account (BKD); bkd.")] = None,
    account_password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file that holds its password; else one is made.")
    ] = None,
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="A shipped policy to begin with; starter.")] = None,
    unit: Annotated[str | None, typer.Option(metavar="KEY", help="The office's uppermost unit.")] = None,
    listen: Annotated[str, typer.Option(metavar="ADDRESS:PORT", help="Where the pages are served.")] = "127.0.0.1:8090",
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="https://NAME of the web server before the pages.")
    ] = None,
    lang: Annotated[Language | None, typer.Option("--lang", help="Language; else that of the locale.")] = None,
) -> None:
    """Make the first settings, the first account and its files: by questions, or from options.

    Membuat pengaturan pertama. Nothing that is there is overwritten, nothing is written before everything is known.
    """
    config, language = settings_path(context), lang or user_language()
    if _is_written(config):
        print(INIT["exists"].into(language, file=config))
        _check(config, language)
        return
    try:
        address_of(listen)
        public = None if public_url is None else check_public(public_url)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None
    prompter = _Prompter(language)
    plan = _Plan(
        prompter.answer("data", data, _folder, "/var/lib/hadir-central"),
        prompter.answer("broker", broker, check_url),
        prompter.answer("username", username, _username, "centre" if prompter.interactive else NONE),
        account="",
        policy="",
        unit="",
        listen=listen,
        public_url=public,
    )
    _ask_for_login(prompter, plan, password_file, ca_file)
    _ask_for_account(prompter, plan, account, account_password_file)
    if prompter.interactive and policy is None:
        print(INIT["policies"].into(language))
        for name, title in _titles(language):
            print(f"  {name:20} {title}")
    plan.policy = prompter.answer("policy", policy, _policy, STARTER)
    plan.unit = prompter.answer("unit", unit, _key, "dinas-contoh")
    _write(config, plan, language, clock_of(context)().astimezone().date().isoformat())
    print(INIT["written"].into(language, files=", ".join(map(str, [path for path in plan.files if path.is_file()]))))
    if plan.made_password:
        file = config.parent / FIRST_PASSWORD
        print(INIT["made_password"].into(language, name=plan.account, file=file))
    _check(config, language)
    print(INIT["next"].into(language))
    for step in ("next_start", "next_doctor", "next_registers"):
        values = {"file": config.parent / "assignments.csv", "unit": plan.unit, "policy": plan.policy}
        print(INIT[step].into(language, **values))


def check(
    context: typer.Context,
    lang: Annotated[Language | None, typer.Option("--lang", help="Language; else that of the settings.")] = None,
) -> None:
    """Verify the settings: every mistake with file, line and column; exit code 78 where there is one.

    Memeriksa pengaturan.
    """
    _check(settings_path(context), lang)


def _check(config: Path, language: Language | None) -> None:
    settings = load_settings(config, files=True)
    values = {"broker": settings.broker.url, "database": settings.database, "pages": settings.pages.listen}
    print(INIT["right"].into(language or settings.language, file=config, **values))


def _is_written(config: Path) -> bool:
    """Return whether there is a file that is more than comments, as a package may install it."""
    try:
        text = config.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, UnicodeDecodeError):
        return True
    return any(line and not line.startswith("#") for line in map(str.strip, text.splitlines()))


# --- answers ------------------------------------------------------------------------------------------------------


def _ask_for_login(prompter: _Prompter, plan: _Plan, password_file: Path | None, ca_file: str | None) -> None:
    if password_file is not None:
        if plan.username is None:
            raise typer.BadParameter("a password has no effect without --username.", param_hint="--password-file")
        plan.password = _secret(password_file, "--password-file")
    elif plan.username is not None and prompter.interactive:
        plan.password = prompter.answer("password", None, _password, "", hidden=True) or None
    if plan.broker.startswith("mqtts:") or ca_file is not None:
        plan.ca_file = prompter.answer("ca_file", ca_file, _certificates, NONE)


def _ask_for_account(prompter: _Prompter, plan: _Plan, name: str | None, password_file: Path | None) -> None:
    plan.account = prompter.answer("account", name, _account, "bkd")
    if password_file is not None:
        given: str | None = _secret(password_file, "--account-password-file")
    else:
        given = None if prompter.interactive else ""
    plan.account_password = prompter.answer("account_password", given, _new_password, "", hidden=True)
    if not plan.account_password:
        plan.account_password = "-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(WORDS))
        plan.made_password = True


def _secret(path: Path, option: str) -> str:
    try:
        return read_secret(path)
    except (OSError, SecretError) as error:
        raise typer.BadParameter(f"{path}: {getattr(error, 'strerror', None) or error}", param_hint=option) from None


def _folder(text: str) -> Path:
    if not Path(text).is_absolute() or not text.isprintable():
        raise ValueError(text)
    return Path(text)


def _username(text: str) -> str | None:
    if not text or text != text.strip() or not text.isprintable() or len(text) > 500:
        raise ValueError(text)
    return None if text == NONE else text


def _password(text: str) -> str:
    if text != text.strip() or (not text.isprintable() and text):
        raise ValueError
    return text


def _new_password(text: str) -> str:
    if text and not 10 <= len(text) <= 200:
        raise ValueError
    return text


def _certificates(text: str) -> Path | None:
    if text == NONE:
        return None
    path = Path(text).absolute()
    try:
        ssl.create_default_context(cafile=str(path))
    except (OSError, ssl.SSLError):
        raise ValueError(text) from None
    return path


def _account(text: str) -> str:
    if not NAME.fullmatch(text):
        raise ValueError(text)
    return text


def _policies() -> list[str]:
    return [name for name in OfficePolicies() if (SHIPPED / f"{name}.yaml").is_file()]


def _titles(language: Language) -> Iterator[tuple[str, str]]:
    policies = OfficePolicies()
    for name in _policies():
        found = policies.policy(name)
        titles = None if found is None else found.versions[0].model.title
        title = None if titles is None else titles.id if language is Language.INDONESIAN else titles.en
        yield name, title or ""


def _policy(text: str) -> str:
    if text not in OfficePolicies():
        raise ValueError(text)
    return text


def _key(text: str) -> str:
    if not re.fullmatch("[a-z0-9][a-z0-9-]{0,63}", text):
        raise ValueError(text)
    return text


# --- writing ------------------------------------------------------------------------------------------------------


def _write(config: Path, plan: _Plan, language: Language, today: str) -> None:
    """Write all files, the settings last; where one fails, those that were made are removed again."""
    folder = config.parent
    try:
        for path, mode in (
            (folder, 0o755),
            (folder / "secrets", 0o700),
            (folder / "policies", 0o755),
            (plan.data, 0o750),
        ):
            if create_folder(path, mode):
                plan.files.append(path)
        if plan.password is not None:
            _put(plan, folder / PASSWORD, f"{plan.password}\n", 0o600)
        _add_account(plan, folder)
        row = f",{plan.unit},week,{plan.policy},{today},"
        _put(plan, folder / "assignments.csv", f"person,unit,schedule,policy,from,until\n{row}\n", 0o644)
        text = "".join(_lines(plan, language))
        if config.exists():  # comments only
            text = f"{config.read_text('utf-8').rstrip()}\n\n{text}"
            draft = config.with_name(f".{config.name}.new")
            draft.unlink(missing_ok=True)
            _put(plan, draft, text, 0o644)
            load_settings(draft)
            plan.files[-1] = draft.replace(config)
        else:
            _put(plan, config, text, 0o644)
            load_settings(config)
        sync_folder(folder)
    except BaseException as error:
        for path in reversed(plan.files):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        if isinstance(error, OSError):
            _refuse(f"{error.filename or folder}: {error.strerror}; nothing is written", 74)
        raise


def _put(plan: _Plan, path: Path, text: str, mode: int) -> None:
    create_file(path, text, mode)
    plan.files.append(path)


def _add_account(plan: _Plan, folder: Path) -> None:
    """Write the first account, and its password where that was made; a file of accounts that is there stays."""
    accounts = plan.data / "accounts.yaml"
    if accounts.exists():
        plan.made_password = False
        return
    from central.web.passwords import hash_password  # noqa: PLC0415 - a library that not every installation has

    if plan.made_password:
        _put(plan, folder / FIRST_PASSWORD, f"{plan.account_password}\n", 0o600)
    with editing(accounts) as edited:
        edited.add(Account(plan.account, Role.BKD, (), None, hash_password(plan.account_password)))
    plan.files.append(accounts)


def _lines(plan: _Plan, language: Language) -> Iterator[str]:
    """Yield the settings with explaining comments."""

    def comment(key: str) -> str:
        return "".join(f"# {line}\n" for line in COMMENTS[key].into(language).split("\n"))

    def text(value: object) -> str:
        return json.dumps(str(value), ensure_ascii=False)

    yield f"{comment('head')}\n{comment('language')}language: {language.value}\n"
    yield f"\n{comment('data')}data: {text(plan.data)}\n"
    yield f"\n{comment('broker')}broker:\n  url: {plan.broker}\n"
    if plan.username is not None:
        yield f"  username: {text(plan.username)}\n"
    if plan.password is not None:
        yield f"  password_file: {PASSWORD}\n"
    if plan.ca_file is not None:
        yield f"  ca_file: {text(plan.ca_file)}\n"
    yield f"\n{comment('pages')}pages:\n  listen: {text(plan.listen)}\n"
    if plan.public_url is not None:
        yield f"  public_url: {text(plan.public_url)}\n"
    yield f"\n{comment('policies')}policies: policies\n"
