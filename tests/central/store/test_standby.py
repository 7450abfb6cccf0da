"""Whether a synchronous standby has what is committed, with a real one."""

from datetime import UTC, datetime

from structlog.testing import capture_logs

from central.store import Database
from central.store.condition import read_condition
from central.store.standby import Standby
from tests.broker import eventually
from tests.postgres import ROLE, Server
from tests.standby import Standby as Following


def lags(database: Database) -> list[bool]:
    """Return of each standby whether it is known how far it is behind."""
    with database.reading() as connection:
        return [one.lag_s is not None for one in read_condition(connection, datetime.now(UTC)).standbys]


def test_receipts_wait_for_a_synchronous_standby() -> None:
    """One that only follows is not enough, and one that is gone is named once. A lag that is not shown is not 0."""
    with Server(durable=True) as primary, primary.superuser() as administrator:
        administrator.execute(f"GRANT pg_monitor TO {ROLE}".encode())
        with Database(primary.url(primary.fresh()), create=True) as database, capture_logs() as log:
            standby = Standby(database)
            assert not standby.has_everything()
            with Following(primary, "cluster_name = 'siaga'"):
                assert not standby.has_everything()
                assert lags(database) == [True]
                administrator.execute(f"REVOKE pg_monitor FROM {ROLE}".encode())
                assert lags(database) == [False]
                administrator.execute(f"GRANT pg_monitor TO {ROLE}".encode())
                administrator.execute("ALTER SYSTEM SET synchronous_standby_names = 'siaga'")
                administrator.execute("SELECT pg_reload_conf()")
                eventually(standby.has_everything, what="a synchronous standby")
            eventually(lambda: not standby.has_everything(), what="the end of the standby")
            assert not standby.has_everything()

    events = [one["event"] for one in log if one["event"].startswith("standby_")]
    assert events == ["standby_missing", "standby_found", "standby_missing"]
