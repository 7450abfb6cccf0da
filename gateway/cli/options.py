"""Options that most commands have. It imports no driver, since `hadir status` needs none."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.texts import Language

DEFAULT_CONFIG = Path("/etc/hadir/gateway.yaml")

Config = Annotated[
    Path,
    typer.Option("--config", "-c", metavar="FILE", envvar="HADIR_CONFIG", help="The configuration."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Lang = Annotated[
    Language | None,
    typer.Option("--lang", help="English or Indonesian; by default as the locale says.", show_default=False),
]
