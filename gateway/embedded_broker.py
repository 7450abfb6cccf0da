"""A real MQTT 5 broker without configuration, on loopback only: for the demo, not for production."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iotcore import Broker

# rumqttd's own configuration. Its defaults would listen on every address and speak 3.1.1 only.
_TOML = """
id = 0

[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
    [v5.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 262144
    max_inflight_count = 100
    dynamic_filters = true
"""


def free_port() -> int:
    """Return an unused port of the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def embedded_broker(folder: Path) -> Iterator[int]:
    """Run a broker for the length of a block and yield its port; its configuration is written into ``folder``."""
    port = free_port()
    configuration = folder / "broker.toml"
    configuration.write_text(_TOML.format(port=port), encoding="utf-8")
    with Broker(config_path=str(configuration)):
        yield port
