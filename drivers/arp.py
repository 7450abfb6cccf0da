"""Link-layer addresses of peers on this machine's own network segments, from the kernel's ARP table."""

import re
from pathlib import Path

ARP_TABLE = Path("/proc/net/arp")
_COMPLETE = 0x2
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def mac_address(ipv4: str, table: Path = ARP_TABLE) -> str | None:
    """Return the MAC address of ``ipv4``; None where it is behind a router or unknown."""
    try:
        lines = table.read_text("ascii", "replace").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        columns = line.split()
        if len(columns) == 6 and columns[0] == ipv4:
            mac = columns[3].lower()
            complete = columns[2].startswith("0x") and int(columns[2], 16) & _COMPLETE
            return mac if complete and _MAC.fullmatch(mac) and mac != "00:00:00:00:00:00" else None
    return None
