"""Work on several machines: a map over parts on Dask's scheduler (extra ``cluster``), and no more.

A worker gets a part of the work, the policies and the database's address; it uses the database itself, with rights of
its own. Whoever reaches a scheduler can run programs at every worker and at its clients (it passes pickled functions):
it listens on loopback, or behind TLS with certificates of both sides (docs/cluster.md).
"""

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from central.policy.load import Policy
from central.policy.office import OfficePolicies
from central.policy.trial import Judged, Part, judge_part
from central.store.engine import Database, is_url
from central.timesheet.model import ENGINE
from central.timesheet.recompute import Recompute

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


def _address(text: str | None) -> str | None:
    try:
        return None if text is None else check_address(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


OnCluster = Annotated[
    str | None,
    typer.Option(
        "--on",
        metavar="URL",
        callback=_address,
        help="Dask's scheduler whose workers judge: tcp://127.0.0.1:8786, or tls://…",
    ),
]


def whole(database: Path | str) -> Path | str:
    """Return a database's address as it is right in any folder."""
    return database if is_url(database) else Path(database).absolute()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def spread_on(
    address: str, database: Path | str, policies: OfficePolicies, names: Iterable[str], parts: Iterable[Part]
) -> Iterator[tuple[Part, Judged]]:
    """Yield parts with what they come to, in the order in which workers end them; raises ClusterError.

    A part whose worker is lost is judged by another one. ``database``: as workers name it.
    """
    known = {name: policy for name in names if (policy := policies.policy(name)) is not None}
    with _connected(address, known) as cluster:
        waiting = {cluster.submit(_judged_by_worker, database, part): part for part in parts}
        for future, sides in cluster.results(waiting):
            yield waiting.pop(future), sides


def recompute_on(address: str, database: Path | str, policies: OfficePolicies) -> tuple[int, int]:
    """Let workers judge what marks name, until none waits; return person-days judged and revisions written.

    Each batch is a transaction of its worker: one that is lost has done all of it or nothing, and another takes its
    marks. Raises ClusterError.
    """
    judged = written = 0
    with _connected(address, {name: policy for name in policies if (policy := policies.policy(name))}) as cluster:
        free, waiting = list(cluster.places), dict[Any, str]()

        def occupy() -> None:
            while free:
                place = free.pop()
                # Batches are few at first, and workers that have nothing to read yet would get none.
                waiting[cluster.submit(_batch_by_worker, database, workers=[place], allow_other_workers=True)] = place

        occupy()
        for future, (marks, days, revisions) in cluster.results(waiting):
            free.append(waiting.pop(future))
            judged, written = judged + days, written + revisions
            if marks:  # else the others end what they have
                occupy()
    return judged, written


@dataclass(frozen=True)
class _Cluster:
    """A connection to a scheduler whose workers have the policies."""

    address: str
    client: Any
    office: Any
    """The policies: sent once, and made anew where they are lost with a worker."""
    places: list[str]
    """The workers, each as often as it has threads."""
    completed: Any

    def submit(self, work: Callable[..., Any], database: Path | str, *more: object, **where: object) -> Any:
        """Return the future of a piece of work."""
        future = self.client.submit(work, database, self.office, *more, pure=False, retries=RETRIES, **where)
        self.completed.add(future)
        return future

    def results(self, waiting: Sized) -> Iterator[tuple[Any, Any]]:
        """Yield futures with their results until none waits; raises ClusterError."""
        while waiting:
            future = next(self.completed)
            try:
                result = future.result()
            except Exception as error:  # whatever a worker raises
                raise ClusterError(f"a worker of {self.address}: {type(error).__name__}: {error}") from error
            yield future, result


@contextmanager
def _connected(address: str, known: Mapping[str, Policy]) -> Iterator[_Cluster]:
    try:
        from distributed import Client, Security, as_completed  # noqa: PLC0415 - of the extra, and slow to import
    except ModuleNotFoundError:
        raise ClusterError(
            "work on several machines needs Dask: pip install 'hadir-gateway[cluster]', or leave --on out"
        ) from None
    if address.startswith("tls:") and _lacks_certificates(Security):
        raise ClusterError(f"{address} needs certificates in Dask's configuration (docs/cluster.md)")
    try:
        client = Client(address, timeout=ANSWER_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"the scheduler {address} does not answer: {error}") from error
    with client:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise ClusterError(f"the scheduler {address} has no worker: dask worker {address}")
        office = client.submit(_office, known, _ours(), pure=False)
        places = [name for name, about in workers.items() for _ in range(about["nthreads"])]
        completed = as_completed(loop=client.loop)  # type: ignore[no-untyped-call]
        yield _Cluster(address, client, office, places, completed)


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


def _judged_by_worker(database: Path | str, policies: OfficePolicies, part: Part) -> dict[str, Any]:
    with closing(Database(database, read_only=True)) as opened, opened.reading() as connection:
        return dict(judge_part(connection, policies, part))


def _batch_by_worker(database: Path | str, policies: OfficePolicies) -> tuple[int, int, int]:
    with closing(Database(database)) as opened:
        worker = Recompute(opened, policies)
        marks = worker.batch()
    return marks, worker.judged, worker.written
