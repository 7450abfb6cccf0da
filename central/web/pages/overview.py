"""The overview: the units of the account."""

from collections.abc import Mapping
from typing import Any

from central.web.access import ALL_UNITS, Role
from central.web.messages import TEXTS as COMMON
from central.web.page import Look, Page, Shown


def show(look: Look) -> Shown:
    """Return the units whose people the viewer sees."""

    def values() -> Mapping[str, Any]:
        today = look.today()
        everything = look.viewer.role in ALL_UNITS
        own = look.viewer.person if look.viewer.role is Role.PERSON else None
        return {"units": look.scope.roots(today), "everything": everything, "own": own}

    return look.show("overview.html", values)


PAGES = [Page("/", "home", COMMON["home"], show, in_menu=True, watched=False)]
