"""``hadir reload``: let the running gateway read its configuration again."""
# ruff: noqa: T201 - a command line prints

from gateway.cli.base import Code, Failure, command_group, print_stderr
from gateway.cli.configuration import load_settings
from gateway.cli.daemon import data_from_daemon, not_running
from gateway.cli.options import DEFAULT_CONFIG, AsJson, Config
from gateway.cli.output import print_fields, print_json

RELOAD_S = 30.0

app = command_group()


@app.command()
def reload(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Have the running gateway read its configuration again, and apply changed terminals and receiver."""
    settings = load_settings(config)
    answer = data_from_daemon(settings.data_dir, "reload", refused=_not_taken, timeout_s=RELOAD_S)
    if answer is None:
        raise not_running(settings.data_dir)
    if as_json:
        print_json(answer)
        return
    applied = {
        "added": ", ".join(answer["added"]),
        "changed": ", ".join(f"{name} ({', '.join(keys)})" for name, keys in answer["changed"].items()),
        "removed": ", ".join(answer["removed"]),
        "receiver": ", ".join(answer.get("receiver", ())),  # a daemon of an earlier version has none
    }
    if any(applied.values()):
        print_fields({what: names for what, names in applied.items() if names})
    else:
        print("no terminal has changed")
    if answer["restart"]:
        print_stderr(f"in effect after a restart only: {', '.join(answer['restart'])}")


def _not_taken(message: str) -> Failure:
    return Failure(Code.CONFIG, f"the gateway does not take the configuration:\n{message}", "config")
