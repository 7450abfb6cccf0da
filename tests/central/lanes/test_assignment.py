from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from central.lanes.assignment import DOOR, client_id_of, lane_of

SITES = [f"{number}-dinas" for number in range(2000)]


def test_the_lane_of_a_site_never_changes() -> None:
    """Workers of different versions agree on it; the figures were computed once, apart, with sha256sum."""
    assert [lane_of(site, 4) for site in ("3602-bkpsdm", "dinas-contoh", "kota-x", "a")] == [1, 4, 2, 2]
    assert lane_of("anything", 1) == 1


def test_sites_are_spread() -> None:
    """No lane has half as many again as its share."""
    counts = Counter(lane_of(site, 4) for site in SITES)

    assert set(counts) == {1, 2, 3, 4}
    assert max(counts.values()) < 1.5 * len(SITES) / 4


@given(st.text(min_size=1), st.integers(1, 40))
def test_another_lane_takes_sites_and_moves_none_between_others(site: str, lanes: int) -> None:
    """So that a change of the number moves as few sites as can be."""
    assert lane_of(site, lanes + 1) in (lane_of(site, lanes), lanes + 1)


def test_the_door_has_the_client_id_of_the_only_inbox() -> None:
    """What its session holds is stored when an office goes over to lanes."""
    assert client_id_of("hadir-central", DOOR) == "hadir-central"
    assert client_id_of("hadir-central", 3) == "hadir-central-3"
