"""What the torture of a centre relies on; a seed takes minutes on a busy machine: `make torture CENTRE=1`."""

import socket

import pytest

from tests.broker import WAIT_S, free_port
from tests.central.lanes.deployment import Line
from tests.torture.centre import check_forward


def test_a_receipt_that_goes_back_is_found() -> None:
    """Of one stream; another stream of the same gateway begins anew."""
    check_forward([("a", "one", 5), ("b", "two", 1), ("a", "one", 5), ("a", "three", 1), ("a", "one", 7)])

    with pytest.raises(AssertionError, match="went back from 5 to 4"):
        check_forward([("a", "one", 5), ("b", "one", 4), ("a", "one", 4)])


def test_a_line_leads_to_another_server_after_one_that_was_away() -> None:
    """A connection that no server takes is ended, and costs no other."""
    with Line(free_port()) as line, socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(("127.0.0.1", line.port), WAIT_S) as refused:
            assert refused.recv(1) == b""
        line.server = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", line.port), WAIT_S) as client:
            taken, _ = server.accept()
            with taken:
                client.sendall(b"x")
                assert taken.recv(1) == b"x"
