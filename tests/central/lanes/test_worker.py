"""Workers as processes, with a real broker and a real server: killed, frozen, added, and another number of lanes."""

from pathlib import Path

from tests.broker import Broker
from tests.central.lanes.deployment import Gateways, Line, Workers, query
from tests.postgres import PASSWORD, ROLE, Server


def test_lanes_are_taken_over_and_shared_and_nothing_is_lost_or_doubled(tmp_path: Path, database_url: str) -> None:
    """One worker is killed, one is frozen and goes on; gateways publish all the time, and receipts never go back."""
    with (
        Broker(tmp_path, persistent=True) as broker,
        Workers(broker, database_url) as workers,
        Gateways(broker) as gateways,
    ):
        workers.start("a")
        workers.wait_for_shares(3)
        workers.wait_for_sites(2)
        gateways.begin()
        workers.start("b")
        workers.wait_for_shares(1, 2)
        workers.kill("a")
        workers.wait_for_shares(3)
        workers.start("c")
        workers.wait_for_shares(1, 2)
        workers.freeze("b")
        workers.wait_for_shares(3)
        workers.thaw("b")
        workers.wait_for_shares(1, 2)
        gateways.stop()
        gateways.check(database_url)
        assert "database_lost" in workers.stop("b")


def test_a_worker_whose_line_to_the_database_is_cut_loses_its_lanes(
    tmp_path: Path, postgres: Server, database_url: str
) -> None:
    """Nothing shows that the line is dead; once it is another one, the worker gets its part again."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    (name,) = query(database_url, "SELECT current_database()")[0]
    with (
        Broker(tmp_path, persistent=True) as broker,
        Workers(broker, database_url) as workers,
        Gateways(broker) as gateways,
        Line(postgres.port) as line,
    ):
        workers.start("cut", url=f"postgresql://{ROLE}@127.0.0.1:{line.port}/{name}?password_file={password}")
        workers.wait_for_shares(3)
        workers.wait_for_sites(2)
        gateways.begin()
        line.cut()
        workers.wait_for_shares()
        workers.start("other")
        workers.wait_for_shares(3)
        line.heal()
        workers.wait_for_shares(1, 2)
        gateways.stop()
        gateways.check(database_url)
        assert "database_lost" in workers.stop("cut")


def test_sites_move_while_messages_flow(tmp_path: Path, database_url: str) -> None:
    """The number of lanes is raised and lowered; sessions of lanes that are too many end when they are empty."""
    with (
        Broker(tmp_path, persistent=True) as broker,
        Workers(broker, database_url) as workers,
        Gateways(broker) as gateways,
    ):
        workers.start("a", lanes=1)
        workers.wait_for_sites(1)
        gateways.begin()
        workers.start("b", lanes=4)
        workers.wait_for_shares(1, 1)
        workers.set_lanes(4)
        workers.wait_for_shares(2, 3)
        workers.wait_for_sites(4)
        workers.set_lanes(1)
        workers.kill("b")
        workers.wait_for_sites(1)
        workers.wait_for_shares(2)
        gateways.stop()
        gateways.check(database_url)
        workers.stop("a")
