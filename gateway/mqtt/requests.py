"""Requests of the centre: from a received message to a request whose reply has a topic of this gateway. Pure."""

import re
from collections.abc import Callable
from typing import Any

from gateway.commands import Request
from gateway.mqtt.mailbox import Received

REPLY = "reply"
"""Begin of the topics of replies, below the prefix."""

Reply = Callable[[str, dict[str, Any], bytes | None], None]
"""Sends a reply: topic below the prefix, payload, correlation data."""


def request_from(message: Received, prefix: str, reply: Reply) -> Request | str:
    """Return the request in a message, or why it is ignored. A response topic of others is not used."""
    name = message.topic.rpartition("/")[2]
    if message.retain:
        return "retained"
    if not re.fullmatch(r"[a-z0-9-]{1,32}", name):
        return "no name of a command"
    wanted = message.response_topic.removeprefix(f"{prefix}/")
    topic = wanted if re.fullmatch(rf"{REPLY}(/[A-Za-z0-9._-]{{1,64}}){{1,4}}", wanted) else f"{REPLY}/{name}"
    correlation = message.correlation
    return Request(
        name,
        message.payload,
        lambda answer: reply(topic, answer, correlation),
        None if message.expiry_s is None else message.at + message.expiry_s,
    )
