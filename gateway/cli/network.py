"""The place of this computer in its network."""

import socket


def own_address() -> str | None:
    """Return the address that this computer's default route uses; None without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: for UDP the system only looks up the route
            return str(probe.getsockname()[0])
        except OSError:
            return None
