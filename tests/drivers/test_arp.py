"""The kernel's table of neighbours."""

from pathlib import Path

from drivers.arp import mac_address

TABLE = """IP address       HW type     Flags       HW address            Mask     Device
192.168.1.201    0x1         0x2         00:17:61:AA:bb:01     *        eth0
192.168.1.202    0x1         0x0         00:00:00:00:00:00     *        eth0
192.168.1.203    0x1         0x2         no address            *        eth0
"""


def test_the_address_of_a_neighbour(tmp_path: Path) -> None:
    """Complete entries only; none for what lies behind a router, or where there is no table."""
    table = tmp_path / "arp"
    table.write_text(TABLE)
    found = [mac_address(f"192.168.1.{last}", table) for last in (201, 202, 203, 204)]
    assert found == ["00:17:61:aa:bb:01", None, None, None]
    assert mac_address("192.168.1.201", tmp_path / "none") is None
    assert mac_address("127.0.0.1") is None
