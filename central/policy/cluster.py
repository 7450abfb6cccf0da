"""Work on several machines: a map over parts on Dask's scheduler (extra ``cluster``), and no more.

A worker gets a part of the work, the policies and the database's address; it reads the database itself, with rights of
its own. Whoever reaches a scheduler can run programs at every worker and at its clients (it passes pickled functions):
it listens on loopback, or behind TLS with certificates of both sides (docs/cluster.md).
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from central.policy.load import Policy
from central.policy.office import OfficePolicies
from central.policy.trial import Judged, Part, judge_part
from central.store.engine import Database
from central.timesheet.model import ENGINE

ANSWER_S = 30
"""How long a scheduler may take to answer."""
RETRIES = 3
"""How often a part is tried again that failed; one whose worker was lost goes to another without counting."""


class ClusterError(Exception):
    """The scheduler cannot be used; the message says why, and what to do."""


def check_address(text: str) -> str:
    """Return a scheduler's address; ValueError says what is right."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if urlsplit(text).scheme not in ("tcp", "tls") or not host or port is None:
        raise ValueError("write tcp://127.0.0.1:8786, or tls://host:8786 for a scheduler on another machine")
    if text.startswith("tcp:") and not _is_loopback(host):
        raise ValueError(
            "without TLS verdicts would cross the network unencrypted, and whoever reaches the scheduler could run "
            "programs here; write tls://host:8786 (docs/cluster.md)"
        )
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def spread_on(
    address: str, database: Path, policies: OfficePolicies, names: Iterable[str], parts: Iterable[Part]
) -> Iterator[tuple[Part, Judged]]:
    """Yield parts with what they come to, in the order in which workers end them; raises ClusterError.

    A part whose worker is lost is judged by another one. ``database``: as workers name it.
    """
    try:
        from distributed import Client, Security, as_completed  # noqa: PLC0415 - of the extra, and slow to import
    except ModuleNotFoundError:
        raise ClusterError(
            "work on several machines needs Dask: pip install 'hadir-gateway[cluster]', or leave --on out"
        ) from None
    if address.startswith("tls:") and _lacks_certificates(Security):
        raise ClusterError(f"{address} needs certificates in Dask's configuration (docs/cluster.md)")
    known = {name: policy for name in names if (policy := policies.policy(name)) is not None}
    try:
        client = Client(address, timeout=ANSWER_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"the scheduler {address} does not answer: {error}") from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ClusterError(f"the scheduler {address} has no worker: dask worker {address}")
        office = client.submit(_office, known, _ours(), pure=False)  # sent once, and made anew where it is lost
        waiting = {
            client.submit(_judged_by_worker, str(database), office, part, pure=False, retries=RETRIES): part
            for part in parts
        }
        for future in as_completed(waiting, loop=client.loop):  # type: ignore[no-untyped-call]
            try:
                sides = future.result()
            except Exception as error:  # whatever a worker raises
                raise ClusterError(f"a worker of {address}: {type(error).__name__}: {error}") from error
            yield waiting.pop(future), sides


def _lacks_certificates(security: Any) -> bool:
    """Return whether Dask's configuration names none for clients."""
    return security().get_connection_args("client").get("ssl_context") is None


def _ours() -> dict[str, Any]:
    """Return what must be the same here and at a worker for equal verdicts."""
    return {"hadir-gateway": version("hadir-gateway"), "engine": ENGINE}


def _office(known: Mapping[str, Policy], theirs: Mapping[str, Any]) -> OfficePolicies:
    if theirs != _ours():
        raise ClusterError(f"this worker has {_ours()}, the command {dict(theirs)}: install the same version")
    policies = OfficePolicies()
    for name, policy in known.items():
        policies.add(name, policy)
    return policies


def _judged_by_worker(database: str, policies: OfficePolicies, part: Part) -> dict[str, Any]:
    with closing(Database(Path(database), read_only=True)) as opened, opened.reading() as connection:
        return dict(judge_part(connection, policies, part))
