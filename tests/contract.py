"""What ``docs/asyncapi.yaml`` states of a message, as an assertion: ``contract.check("punch/lobby", payload)``.

The document's schemas are open, because consumers ignore what they do not know. Here they are closed: the gateway sends
no field and no value that is not written down.
"""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from ruamel.yaml import YAML

FILE = Path(__file__).parent.parent / "docs" / "asyncapi.yaml"
PREFIX = "{root}/v1/{site}/{gateway}/"
RESULT = "{root}/"
"""What stands before the topics of the centre's results, which begin with ``result/``."""
LEVEL = "[a-z0-9-]+"

JsonObject = dict[str, Any]


def check(topic: str, payload: bytes | str, *, strict: bool = True) -> None:
    """Assert that ``payload`` may be published to ``topic``, which is given without the gateway's prefix.

    An array is checked event by event, each as on a topic of its own. Strict: no undocumented field or value, and
    nothing on a topic that this version does not publish to. Otherwise as a consumer sees it, reserved topics and those
    the gateway listens to included.
    """
    channel = channel_of(topic)
    if strict:
        assert is_published(channel), f"{topic}: this version of the gateway publishes nothing here"
    text = payload.decode() if isinstance(payload, bytes) else payload
    if not text:
        assert channel == "terminalState", f"{topic}: nothing, where there is always a value"
        return
    body = parse(text)
    if channel == "batch":
        assert isinstance(body, list)
        assert body, "an array of no events"
        assert text == f"[{','.join(canonical(event) for event in body)}]", f"not canonical JSON: {text[:500]}"
        for event in body:
            check(topic_of(event), canonical(event), strict=strict)
        return
    messages = messages_of(channel)
    name = body.get("type") if isinstance(body, dict) and "specversion" in body else None
    if name is None:
        assert len(messages) == 1, f"{topic}: carries numbered events, not {text[:200]}"
        name = next(iter(messages))
    assert name in messages, f"{topic}: no message {name!r} here; documented are {', '.join(messages)}"
    error = best_match(validator(messages[name], strict=strict).iter_errors(body))
    assert error is None, f"{topic}: {name}: {error.json_path}: {error.message[:500]}"
    if isinstance(body, dict) and "digest" in body and "previous" in body:
        check_event(topic, text, body)


def check_event(topic: str, text: str, event: JsonObject) -> None:
    """Assert what a schema cannot say of a numbered event: its bytes, its digest, its topic."""
    assert text == canonical(event), f"{topic}: not canonical JSON: {text[:500]}"
    rest = canonical({key: value for key, value in event.items() if key != "digest"})
    digest = "sha256:" + sha256((event["previous"] + rest).encode()).hexdigest()
    assert event["digest"] == digest, f"{topic}: the digest is not that of the content"
    terminal = topic.partition("/")[2] or None
    assert event.get("subject") == terminal, f"{topic}: the subject is {event.get('subject')!r}"
    assert event["data"].get("terminal") == terminal, f"{topic}: data is about {event['data'].get('terminal')!r}"


def topic_of(event: JsonObject) -> str:
    """Return the topic, without the prefix, that a numbered event has when it goes alone."""
    channel = next(name for name in document()["channels"] if name != "batch" and event["type"] in messages_of(name))
    return topic_for(channel, event)


def canonical(value: object) -> str:
    """Write JSON as digests see it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parse(text: str) -> Any:
    """Read JSON that has no fractions and no key twice."""
    return json.loads(text, parse_float=_no_fraction, parse_constant=_no_fraction, object_pairs_hook=_once)


def _no_fraction(number: str) -> NoReturn:
    raise AssertionError(f"{number}: the contract has integers only")


def _once(pairs: list[tuple[str, Any]]) -> JsonObject:
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"
    return dict(pairs)


@cache
def document() -> JsonObject:
    """Return the document as plain JSON values, references kept."""
    loaded: JsonObject = json.loads(json.dumps(YAML(typ="safe", pure=True).load(FILE)))
    return loaded


def below(address: str) -> str:
    """Return a channel's address without the prefix of the gateway, or of a result without the root."""
    prefix = RESULT if address.startswith(f"{RESULT}result/") else PREFIX
    assert address.startswith(prefix), address
    return address[len(prefix) :]


def channel_of(topic: str) -> str:
    """Return the name of the channel that ``topic``, without the prefix, belongs to."""
    for name, channel in document()["channels"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", LEVEL, below(str(channel["address"]))), topic):
            return str(name)
    raise AssertionError(f"{topic}: no such topic in the contract")


def is_published(channel: str) -> bool:
    """Return whether this version of the gateway, or of the centre, publishes to ``channel``."""
    return any(
        operation["action"] == "send" and operation.get("x-status") != "reserved"
        for operation in document()["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{channel}"
    )


def is_of_the_centre(channel: str) -> bool:
    """Return whether the centre publishes to ``channel``."""
    return any(
        operation.get("x-by") == "centre"
        for operation in document()["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{channel}"
    )


def is_retained(topic: str) -> bool:
    """Return whether messages to ``topic``, without the prefix, are retained."""
    channel = channel_of(topic)
    (operation,) = (
        operation
        for operation in document()["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{channel}"
    )
    return bool(resolve(operation["bindings"])["mqtt"]["retain"])


def messages_of(channel: str) -> dict[str, str]:
    """Return the messages of a channel: the name (of a numbered event: its type) and the key in the document."""
    messages = document()["channels"][channel]["messages"]
    return {resolve(reference)["name"]: key for key, reference in messages.items()}


def examples() -> Iterator[tuple[str, str, Any]]:
    """Yield every example in the document: channel, message key, payload."""
    for channel, content in document()["channels"].items():
        for key, reference in content["messages"].items():
            for example in resolve(reference)["examples"]:
                yield channel, key, example["payload"]


def topic_for(channel: str, payload: Any) -> str:
    """Return a topic, without the prefix, at which ``payload`` may be found."""
    address = below(str(document()["channels"][channel]["address"]))
    if address.startswith("result/"):
        return address.replace("{unit}", payload["data"]["unit"] or "-")
    terminal = payload.get("subject", "lobby") if isinstance(payload, dict) else "lobby"
    return address.replace("{terminal}", terminal).replace("{command}", "poll")


def resolve(value: JsonObject) -> Any:
    """Follow a reference within the document, if ``value`` is one."""
    found: Any = value
    while isinstance(found, dict) and "$ref" in found:
        node: Any = document()
        for step in found["$ref"].removeprefix("#/").split("/"):
            node = node[step]
        found = node
    return found


@cache
def validator(key: str, *, strict: bool = True) -> Draft202012Validator:
    """Return the validator for the payload of the message ``key``."""
    schema = _inlined(document()["components"]["messages"][key]["payload"])
    return Draft202012Validator(_closed(schema) if strict else schema)


def _inlined(node: Any) -> Any:
    """Copy a schema with every reference replaced by what it refers to."""
    if isinstance(node, dict):
        return {key: _inlined(value) for key, value in resolve(node).items()}
    return [_inlined(value) for value in node] if isinstance(node, list) else deepcopy(node)


_COMBINING = {"allOf", "anyOf", "if", "then", "else", "not"}
"""Keywords whose schemas speak about the same object as the schema they stand in."""


def _closed(schema: JsonObject, *, whole: bool = True) -> JsonObject:
    """Copy a schema so that it admits no further field in any object and no value beyond those known.

    ``whole``: the schema speaks about all of an object; parts of it (in ``allOf`` and the like) must not be closed each
    for itself.
    """
    closed: JsonObject = {}
    for key, value in schema.items():
        if key == "properties":
            closed[key] = {name: _closed(part) for name, part in value.items()}
        elif isinstance(value, dict):
            closed[key] = _closed(value, whole=key not in _COMBINING)
        elif key in ("allOf", "anyOf", "oneOf"):
            closed[key] = [_closed(part, whole=key not in _COMBINING) for part in value]
        else:
            closed[key] = value
    if "x-known" in schema:
        closed["enum"] = schema["x-known"]
    if whole and ("properties" in schema or "allOf" in schema):
        closed["unevaluatedProperties"] = False
    return closed
