"""The file of accounts: what it may hold, how commands change it, and what a running server knows of it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from central.web import passwords
from central.web.access import Role
from central.web.accounts import Account, AccountFile, AccountsError, editing, read_accounts
from tests.central.web.site import HASH, PASSWORD, write_accounts
from tests.command import run

GOOD = f"""\
# who may see what
accounts:
  chief:
    role: superior
    units: ["007", dinkes]   # two units
    person: p-1
    password: {HASH}
  bkd1: {{role: bkd}}
"""


def written(folder: Path, text: str) -> Path:
    """Write a file of accounts."""
    path = folder / "accounts.yaml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_the_accounts_of_a_file(tmp_path: Path) -> None:
    """Units keep their zeros; an account without a password cannot log in."""
    assert read_accounts(written(tmp_path, GOOD)) == {
        "chief": Account("chief", Role.SUPERIOR, ("007", "dinkes"), "p-1", HASH),
        "bkd1": Account("bkd1", Role.BKD, (), None, None),
    }
    assert read_accounts(written(tmp_path, "accounts:\n")) == {}


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("", "1:1", "empty"),
        ("accounts: [", "1:1", "not YAML"),
        ("accounts: {}\nothers: {}", "2:1", "accounts:` only"),
        ("others: {}", "1:1", "accounts:` only"),
        ("accounts: 3", "1:11", "with its keys below"),
        ("accounts: {x: 3}", "1:15", "keys of x"),
        ("accounts: {X: {role: bkd}}", "1:12", "a-z"),
        ("accounts: {x: {units: [a]}}", "1:12", "role:` is missing"),
        ("accounts: {x: {role: king}}", "1:22", "unknown role"),
        ("accounts: {x: {role: [bkd]}}", "1:22", "unknown role"),
        ("accounts: {x: {role: bkd, unit: a}}", "1:27", "unknown key"),
        ("accounts: {x: {role: superior}}", "1:12", "needs `units:`"),
        ("accounts: {x: {role: operator, units: []}}", "1:12", "needs `units:`"),
        ("accounts: {x: {role: operator, units: a}}", "1:39", "as a list"),
        ("accounts: {x: {role: operator, units: [007]}}", "1:40", "in quotes"),
        ("accounts: {x: {role: auditor, units: [a]}}", "1:31", "has no units"),
        ("accounts: {x: {role: person}}", "1:12", "needs `person:`"),
        ("accounts: {x: {role: bkd, password: secret}}", "1:27", "account passwd x"),
        ("accounts: {x: {role: bkd}, x: {role: auditor}}", "1:28", "written twice"),
        ("accounts:\n  x: {role: bkd}\n\0", "3:1", "character"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, place: str, what: str) -> None:
    """File, line and column, and what to write instead."""
    with pytest.raises(AccountsError) as caught:
        read_accounts(written(tmp_path, text))
    assert str(caught.value).startswith(f"{tmp_path / 'accounts.yaml'}:{place}")
    assert what in str(caught.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It holds hashes; the message has the command that closes it."""
    path = written(tmp_path, GOOD)
    path.chmod(0o644)
    with pytest.raises(AccountsError, match="chmod 640"):
        read_accounts(path)


def test_a_change_keeps_comments_and_the_other_accounts(tmp_path: Path) -> None:
    """And the mode of the file."""
    path = written(tmp_path, GOOD)
    path.chmod(0o640)
    with editing(path) as edited:
        edited.put(Account("bkd1", Role.BKD, (), "p-2", HASH))
        edited.add(Account("clerk", Role.OPERATOR, ("008",), None, HASH))
    text = path.read_text()
    assert "# who may see what" in text
    assert "# two units" in text
    assert path.stat().st_mode & 0o777 == 0o640
    found = read_accounts(path)
    assert list(found) == ["chief", "bkd1", "clerk"]
    assert found["clerk"].units == ("008",)
    assert found["bkd1"].person == "p-2"
    with editing(path) as edited:
        edited.remove("chief")
    assert list(read_accounts(path)) == ["bkd1", "clerk"]


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """An account that is there, or is not; a mistake elsewhere in the file."""
    path = written(tmp_path, GOOD)
    for change in ("add", "remove"):
        with pytest.raises(AccountsError), editing(path) as edited:
            edited.add(Account("chief", Role.BKD, (), None, HASH)) if change == "add" else edited.remove("nowhere")
    assert path.read_text() == GOOD
    with pytest.raises(AccountsError, match="unknown role"), editing(written(tmp_path, GOOD + "  x: {role: king}\n")):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["accounts.yaml"]


def test_changes_at_once_are_all_made(tmp_path: Path) -> None:
    """One after the other."""
    path = tmp_path / "accounts.yaml"

    def add(number: int) -> None:
        with editing(path) as edited:
            edited.add(Account(f"clerk{number}", Role.OPERATOR, ("a",), None, HASH))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(16)))
    assert len(read_accounts(path)) == 16
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_running_server_knows_the_last_good_file(tmp_path: Path) -> None:
    """Also while the file is away; a repaired file is read."""
    path = written(tmp_path, GOOD)
    file = AccountFile(path)
    assert not file.refresh()
    path.write_text("accounts: {chief: {role: king}}")
    assert file.refresh()
    assert file.problem is not None
    assert "unknown role" in file.problem
    assert file.get("chief") is not None
    path.unlink()
    assert file.refresh()
    assert not file.refresh()
    assert file.get("chief") is not None
    write_accounts(path, {"other": "role: bkd"})
    assert file.refresh()
    assert file.problem is None
    assert file.get("chief") is None
    assert file.get("other") is not None


def test_whatever_an_account_can_is_in_its_proof() -> None:
    """A session ends with any change of it."""
    account = Account("x", Role.OPERATOR, ("a", "b"), None, HASH)
    others = [
        Account("y", Role.OPERATOR, ("a", "b"), None, HASH),
        Account("x", Role.SUPERIOR, ("a", "b"), None, HASH),
        Account("x", Role.OPERATOR, ("a",), None, HASH),
        Account("x", Role.OPERATOR, ("a", "b"), "p", HASH),
        Account("x", Role.OPERATOR, ("a", "b"), None, None),
    ]
    assert len({account.proof, *(other.proof for other in others)}) == 6
    assert account.proof == Account("x", Role.OPERATOR, ("b", "a"), None, HASH).proof


def test_passwords_are_hashed_with_argon2id() -> None:
    """No account has no password, whatever is given."""
    hashed = passwords.hash_password(PASSWORD)
    assert hashed.startswith("$argon2id$")
    assert passwords.is_password(PASSWORD, hashed)
    assert not passwords.is_password(PASSWORD + "x", hashed)
    assert not passwords.is_password("no account has this password", None)
    assert not passwords.is_password("\ud800", hashed)
    assert not passwords.is_password(PASSWORD, "no hash")


def test_the_commands(tmp_path: Path) -> None:
    """Add, list, change the password, remove; each mistake states what to do."""
    path, password = tmp_path / "accounts.yaml", tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")

    def account(*arguments: str) -> tuple[int, str]:
        found = run("central.cli", "account", *arguments, "--accounts", path, env=dict(os.environ))
        return found.returncode, found.stdout + found.stderr

    given = ("--password-file", str(password))
    assert account("list")[0] == 1
    code, text = account("add", "chief", "--role", "superior", "--unit", "dinas", *given)
    assert code == 0, text
    assert "cannot approve" in text
    assert passwords.is_password(PASSWORD, read_accounts(path)["chief"].password)
    assert account("add", "chief", "--role", "bkd", *given)[0] == 1
    assert account("add", "Chief", "--role", "bkd", *given)[0] == 2
    assert account("add", "x", "--role", "superior", *given)[0] == 2
    assert account("add", "x", "--role", "bkd", "--unit", "a", *given)[0] == 2
    assert account("add", "x", "--role", "person", *given)[0] == 2
    assert account("add", "x", "--role", "bkd") == (1, account("add", "x", "--role", "bkd")[1])
    assert "chief" in account("list")[1]
    assert HASH not in account("list", "--json")[1]
    before = read_accounts(path)["chief"]
    assert account("passwd", "chief", *given)[0] == 0
    after = read_accounts(path)["chief"]
    assert after.password != before.password
    assert (after.role, after.units) == (before.role, before.units)
    password.write_text("short\n")
    code, text = account("passwd", "chief", *given)
    assert (code, "10 to 200" in text) == (1, True)
    assert account("passwd", "nowhere", *given)[0] == 1
    assert account("remove", "chief")[0] == 0
    assert account("remove", "chief")[0] == 1
    assert read_accounts(path) == {}
