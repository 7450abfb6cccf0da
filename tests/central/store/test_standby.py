"""Whether a synchronous standby has what is committed, with a real one."""

from structlog.testing import capture_logs

from central.store import Database
from central.store.standby import Standby
from tests.broker import eventually
from tests.postgres import ROLE, Server
from tests.standby import Standby as Following


def test_receipts_wait_for_a_synchronous_standby() -> None:
    """One that only follows is not enough, and one that is gone is named once."""
    with Server(durable=True) as primary, primary.superuser() as administrator:
        administrator.execute(f"GRANT pg_monitor TO {ROLE}".encode())
        with Database(primary.url(primary.fresh()), create=True) as database, capture_logs() as log:
            standby = Standby(database)
            assert not standby.has_everything()
            with Following(primary, "cluster_name = 'siaga'"):
                assert not standby.has_everything()
                administrator.execute("ALTER SYSTEM SET synchronous_standby_names = 'siaga'")
                administrator.execute("SELECT pg_reload_conf()")
                eventually(standby.has_everything, what="a synchronous standby")
            eventually(lambda: not standby.has_everything(), what="the end of the standby")
            assert not standby.has_everything()

    events = [one["event"] for one in log if one["event"].startswith("standby_")]
    assert events == ["standby_missing", "standby_found", "standby_missing"]
