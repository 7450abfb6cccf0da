"""Accounts of the pages: a YAML file of names, roles, units and hashes of passwords.

The file is written by ``hadir-central account`` or by hand. A running server reads it again when it changes; where it
then has a mistake, the server goes on with what it read before, and says so.
"""

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from central.files import give_to_owner
from central.json_text import dump_json
from central.policy.document import DocumentError, Node, Place, parse, read_text
from central.texts import Language
from central.web.access import WITH_UNITS, Role, Viewer

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
HEAD = """\
# Accounts of the centre's pages. Change them with `hadir-central account`; a running server reads the file again.
# role: operator, superior (both with units: their subtrees), bkd, auditor, person (with person: a key)
"""
_KEYS = ("role", "units", "person", "password", "mail", "language")
MAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){1,8}")
"""Addresses that mails go to: no quotes, no comments, no white space, nothing that a header could be made of."""
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=[0-9]{1,8},t=[0-9]{1,3},p=[0-9]{1,3}\$[A-Za-z0-9+/]{16,64}\$[A-Za-z0-9+/]{32,128}"
)


class AccountsError(Exception):
    """The file cannot be used, or an account is not as it should be; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account of the file."""

    name: str
    role: Role
    units: tuple[str, ...]
    person: str | None
    password: str | None
    """The argon2id hash; None: no login is possible yet."""
    mail: str | None = None
    """Where a superior's digest and an operator's alarms are sent; None: nowhere."""
    language: Language = Language.INDONESIAN
    """Of these mails."""

    @property
    def viewer(self) -> Viewer:
        """Return who looks when this account is logged in."""
        return Viewer(self.name, self.role, frozenset(self.units), self.person)

    @property
    def proof(self) -> str:
        """Return the digest of all that a session depends on: whatever changes here ends the session."""
        content = [self.name, self.role, sorted(self.units), self.person, self.password]
        return sha256(dump_json(content).encode()).hexdigest()


def read_accounts(path: Path) -> dict[str, Account]:
    """Return the accounts of a file by name; raises :class:`AccountsError` with the place of the first mistake."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise AccountsError(f"{path}: {error.strerror}; hadir-central account add creates it") from None
    if mode & 0o007:
        raise AccountsError(f"{path}: everybody here can read it, and it holds hashes; run: chmod 640 {path}")
    try:
        return _accounts(parse(read_text(path), str(path)))
    except DocumentError as error:
        raise AccountsError(str(error)) from None


def _accounts(document: Node) -> dict[str, Account]:
    found = _map(document, "write `accounts:` and the accounts below it")
    for key in found.keys() - {"accounts"}:
        raise DocumentError(document.keys[key], "unknown here; the file holds `accounts:` only")
    if "accounts" not in found:
        raise DocumentError(document.place, "`accounts:` is missing")
    accounts = found["accounts"]
    if accounts.value is None:
        return {}
    names = _map(accounts, "write each account as `name:` with its keys below")
    return {name: _account(name, accounts.keys[name], node) for name, node in names.items()}


def _account(name: str, place: Place, node: Node) -> Account:
    if not NAME.fullmatch(name):
        raise DocumentError(place, "an account is named with a-z, 0-9, dot, hyphen and underscore, at most 64")
    keys = _map(node, f"write the keys of {name} below it: {', '.join(_KEYS)}")
    for key in keys:
        if key not in _KEYS:
            raise DocumentError(node.keys[key], f"unknown key; an account has {', '.join(_KEYS)}")
    role = _role(node, place)
    contact = _text(node, "mail"), _language(node)
    account = Account(name, role, _units(node), _text(node, "person"), _text(node, "password"), *contact)
    if account.mail is not None and not MAIL.fullmatch(account.mail):
        raise DocumentError(node.keys["mail"], f"{name}: write one plain address, such as siti@example.go.id")
    if role in WITH_UNITS and not account.units:
        raise DocumentError(place, f"{name}: the role {role} needs `units:`, the keys of one or more units")
    if role not in WITH_UNITS and account.units:
        raise DocumentError(node.keys["units"], f"{name}: the role {role} has no units; remove the key")
    if role is Role.PERSON and account.person is None:
        raise DocumentError(place, f"{name}: the role person needs `person:`, the key of the person")
    if account.password is not None and not _HASH.fullmatch(account.password):
        raise DocumentError(node.keys["password"], f"no argon2id hash; run: hadir-central account passwd {name}")
    return account


def _map(node: Node, what: str) -> Mapping[str, Node]:
    if not isinstance(node.value, dict):
        raise DocumentError(node.place, what)
    return node.value


def _role(node: Node, place: Place) -> Role:
    found = node.get("role")
    if found is None:
        raise DocumentError(place, f"`role:` is missing: {', '.join(Role)}")
    try:
        return Role(found.value)
    except ValueError:
        raise DocumentError(found.place, f"unknown role; write one of {', '.join(Role)}") from None


def _units(node: Node) -> tuple[str, ...]:
    found = node.get("units")
    if found is None or found.value is None:
        return ()
    if not isinstance(found.value, list):
        raise DocumentError(found.place, "write the units as a list: [key, key]")
    return tuple(dict.fromkeys(_key(one) for one in found.value))


def _text(node: Node, key: str) -> str | None:
    found = node.get(key)
    return None if found is None or found.value is None else _key(found)


def _language(node: Node) -> Language:
    found = node.get("language")
    if found is None or found.value is None:
        return Language.INDONESIAN
    try:
        return Language(found.value)
    except ValueError:
        raise DocumentError(found.place, f"unknown language; write one of {', '.join(Language)}") from None


def _key(node: Node) -> str:
    if not isinstance(node.value, str) or not node.value or not node.value.isprintable():
        raise DocumentError(node.place, "not a text; write it in quotes")  # 007 without them is the number 7
    return node.value


class AccountFile:
    """The accounts as a running server knows them: those of the file, or those that were read before it broke."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises :class:`AccountsError`."""
        self._path = path
        self._state = _state(path)
        self._accounts = read_accounts(path)
        self.problem: str | None = None
        """Why the file as it is now is not used; None where it is."""

    def get(self, name: str) -> Account | None:
        """Return an account by its name."""
        return self._accounts.get(name)

    def refresh(self) -> bool:
        """Read the file again if it has changed; return whether anything is different: accounts or the problem."""
        state = _state(self._path)
        if state == self._state and (state is not None or self.problem is not None):
            return False
        before = self._accounts, self.problem
        self._state = state
        try:
            self._accounts, self.problem = read_accounts(self._path), None
        except AccountsError as error:
            self.problem = str(error)
        return before != (self._accounts, self.problem)


def _state(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode


@contextmanager
def editing(path: Path) -> Iterator["Edited"]:
    """Yield the accounts of a file for a change, which is written whole where the block ends normally.

    Two changes at once are made one after the other. Comments stay. Raises :class:`AccountsError`.
    """
    target = path.resolve()
    try:
        lock = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AccountsError(f"{target.parent}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        edited = Edited(target)
        yield edited
        edited.write()
    finally:
        os.close(lock)


class Edited:
    """The accounts of a file that is being changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._yaml = YAML()
        self._yaml.preserve_quotes = True
        self._yaml.width = 200
        self.accounts = read_accounts(path) if path.exists() else {}
        self._before = dict(self.accounts)
        text = read_text(path) if path.exists() else f"{HEAD}accounts:\n"
        self._document: CommentedMap = self._yaml.load(text)
        if self._document["accounts"] is None:
            self._document["accounts"] = CommentedMap()

    def existing(self, name: str) -> Account:
        """Return an account; raises :class:`AccountsError`."""
        if name not in self.accounts:
            raise AccountsError(f"{self._path}: there is no account {name}")
        return self.accounts[name]

    def add(self, account: Account) -> None:
        """Add an account; raises :class:`AccountsError` where there is one of its name."""
        if account.name in self.accounts:
            raise AccountsError(f"{self._path}: there is an account {account.name} already")
        self.put(account)

    def put(self, account: Account) -> None:
        """Add an account, or change it."""
        values: dict[str, Any] = {"role": account.role.value}
        if account.units:
            values["units"] = list(account.units)
        for key in ("person", "password", "mail"):
            if (value := getattr(account, key)) is not None:
                values[key] = value
        if account.language is not Language.INDONESIAN:
            values["language"] = account.language.value
        entry = self._document["accounts"].setdefault(account.name, CommentedMap())
        for key in [key for key in entry if key not in values]:
            del entry[key]
        for key, value in values.items():
            if entry.get(key) != value:
                entry[key] = value
        self.accounts[account.name] = account

    def remove(self, name: str) -> None:
        """Remove an account; raises :class:`AccountsError`."""
        self.existing(name)
        del self._document["accounts"][name]
        del self.accounts[name]

    def write(self) -> None:
        """Replace the file at once; what is written is read first. Raises :class:`AccountsError`."""
        buffer = StringIO()
        self._yaml.dump(self._document, buffer)
        text = buffer.getvalue()
        if self._before == self.accounts:
            return
        if _accounts(parse(text, str(self._path))) != self.accounts:
            raise AccountsError(f"{self._path}: cannot be changed without altering it; edit it by hand")
        try:
            mode = self._path.stat().st_mode & 0o770 if self._path.exists() else 0o600
            descriptor, name = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    give_to_owner(file.fileno(), self._path if self._path.exists() else self._path.parent)
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                Path(name).replace(self._path)
            except BaseException:
                with suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise AccountsError(f"{self._path}: {error.strerror}") from None
