"""What answers under a serial number."""

from pathlib import Path

import pytest

from gateway.identities import FILE_NAME, KEPT, SERIALS_MAX, Change, Identities
from tests.drivers.hostile import PLANTS, untouched


def test_a_new_value_is_a_change_once_and_across_restarts(tmp_path: Path) -> None:
    """What was known once is no change again; what is not reported changes nothing."""
    now = [0.0]
    known = Identities(tmp_path, lambda: now[0])
    assert known.changes("S1", {"mac": "aa", "firmware": "1"}) == []
    assert known.changes("S1", {"mac": None, "firmware": "1"}) == []
    again = Identities(tmp_path, lambda: now[0])
    assert again.changes("S1", {"mac": "bb", "firmware": "1"}) == [Change("mac", "aa", "bb")]
    now[0] = 4000.0
    assert again.changes("S1", {"mac": "aa"}) == []
    assert again.changes("S1", {"mac": "bb"}) == []
    assert again.changes("S2", {"mac": "aa"}) == []


def test_a_device_that_changes_all_the_time_is_reported_once_an_hour(tmp_path: Path) -> None:
    """And takes no more room than a few values."""
    now = [0.0]
    known = Identities(tmp_path, lambda: now[0])
    reported = 0
    for number in range(1000):
        now[0] = number * 60.0
        reported += len(known.changes("S1", {"mac": f"m{number}"}))
    assert reported == 17
    assert len(known._known["S1"]["mac"]) == KEPT
    for number in range(2 * SERIALS_MAX):
        known._path = None
        known.changes(f"X{number}", {"mac": "m"})
    assert len(known._known) == SERIALS_MAX


def test_a_change_within_the_hour_of_another_is_reported_behind_it(tmp_path: Path) -> None:
    """It is not learnt before it can be reported, also across a restart."""
    now = [0.0]
    known = Identities(tmp_path, lambda: now[0])
    assert known.changes("S1", {"mac": "aa", "firmware": "1"}) == []
    assert known.changes("S1", {"mac": "bb", "firmware": "1"}) == [Change("mac", "aa", "bb")]
    now[0] = 60.0
    assert known.changes("S1", {"mac": "bb", "firmware": "2"}) == []
    now[0] = 3601.0
    assert known.changes("S1", {"mac": "bb", "firmware": "2"}) == [Change("firmware", "1", "2")]
    assert known.changes("S1", {"mac": "bb", "firmware": "2"}) == []


@pytest.mark.parametrize("kind", PLANTS)
def test_what_lies_in_the_place_of_the_file_is_not_followed(tmp_path: Path, kind: str) -> None:
    """It is neither read nor written, and costs the memory only."""
    ours, folder = tmp_path / "ours", tmp_path / "data"
    ours.write_bytes(b'{"S1": {"mac": ["aa"]}}')
    folder.mkdir()
    PLANTS[kind](folder / FILE_NAME, ours)
    assert Identities(folder).changes("S1", {"mac": "bb"}) == []
    assert untouched(ours, b'{"S1": {"mac": ["aa"]}}')


@pytest.mark.parametrize("content", [b"", b"[]", b"[[1]]", b'{"S1": 1}', b"\xff", b"[" * 100_000])
def test_a_file_that_is_none_is_learnt_anew(tmp_path: Path, content: bytes) -> None:
    """It is no evidence."""
    (tmp_path / FILE_NAME).write_bytes(content)
    assert Identities(tmp_path).changes("S1", {"mac": "aa"}) == []
    assert Identities(tmp_path).changes("S1", {"mac": "bb"}) == [Change("mac", "aa", "bb")]


def test_a_disk_without_room_costs_the_memory_only(tmp_path: Path) -> None:
    """What was learnt holds until the process ends."""
    known = Identities(tmp_path / "none")
    assert known.changes("S1", {"mac": "aa"}) == []
    assert known.changes("S1", {"mac": "bb"}) == [Change("mac", "aa", "bb")]
