"""Pages of a centre on a server are those of a centre in a file, byte for byte but for tokens."""

import re
from pathlib import Path

from tests.central.stores import STORES
from tests.central.web.month import serve_month
from tests.postgres import Server

LINK = re.compile(r'href="(/[^"#]*)')
TOKEN = re.compile(r"[0-9a-f]{16,}")
HOSTILE = (
    "/today/di%00nas",
    "/today/dinas?show=%00",
    "/person/a%00",
    "/person/a?month=%00",
    "/day/a?date=2026-08-31%00",
    "/period/dinas?month=2026-08%00",
    "/access?person=%00",
    "/access?account=%ff%fe",
    "/access?before=99999999999999999999999",
    "/notes/%00",
    "/evidence?terminal=%00",
    "/closings/%00/%00",
    "/closings/99999999999999999999/x",
)


def pages(folder: Path) -> dict[tuple[str, str], tuple[int, str]]:
    """Return status and content of every kind of page that links lead to, by account and address."""
    folder.mkdir()
    served = serve_month(folder)
    found: dict[tuple[str, str], tuple[int, str]] = {}
    try:
        for account in ("bkd1", "audit"):
            browser, waiting, kinds = served.browser(account), ["/", *HOSTILE], set[str]()
            while waiting:
                path = waiting.pop(0)
                kind = re.sub("=[^&]*", "=", path)
                if kind in kinds and path not in HOSTILE:
                    continue
                kinds.add(kind)
                answer = browser.get(path)
                found[account, path] = answer.status, TOKEN.sub("#", answer.body)
                if path not in HOSTILE:
                    waiting += [link.replace("&amp;", "&") for link in LINK.findall(answer.body)]
    finally:
        served.end()
        served.office.close()
    return found


def test_pages_are_the_same_on_both_databases(postgres: Server, tmp_path: Path) -> None:
    """Also where an address holds what no text of PostgreSQL may, or a number beyond its integers."""
    on_file = pages(tmp_path / "file")
    with STORES.on(postgres):
        on_server = pages(tmp_path / "server")

    kinds = {path.split("?")[0].split("/")[1] for _, path in on_file}
    assert {"today", "person", "day", "period", "units", "evidence", "closings", "access", "requests"} <= kinds
    assert on_server.keys() == on_file.keys()
    assert [where for where, page in on_server.items() if page != on_file[where]] == []
    assert [where for where, (status, _) in on_server.items() if status >= 500] == []
