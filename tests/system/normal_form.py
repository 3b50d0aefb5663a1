"""What is the same in every run of what clients send and see.

Ids become names in the order in which they appear, times become ``<time>``, and pieces of a text that came one after
the other become one. All else stays: what else differs between two runs is a difference that a client sees.
"""

import base64
import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

from tests.builders.phone import Frame, utf16_length

Entry = dict[str, Any]

FIRST = ("type", "action")
LONGEST_SHOWN = 240
TIMES = ("ended_at", "expiration", "received_at", "timestamp", "updated_at")
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(\+00:00|Z)")
EPOCH_TIME_MS = re.compile(r"\d{13}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REPLY = re.compile(r"(?!0{32})[0-9a-f]{32}")
FILE = re.compile(f"/api/files/({REPLY.pattern})")
GATEWAY_ID = "[A-Za-z0-9_-]{15}="
CONNECTION = re.compile(GATEWAY_ID)
APP_MESSAGE = re.compile(f"({GATEWAY_ID})({GATEWAY_ID})")
"""The app names no message: the relay puts API Gateway's two ids together."""
SIGNED = ("credential", "date", "security-token", "signature")
"""The parts of a signature that depend on the time and the credentials of the run."""


def normal(entries: Sequence[Entry], address: str) -> list[Entry]:
    """Return `entries` without what differs from run to run; `address` is the deployment's ``host:port``."""
    ordered = [_ordered(entry) for entry in _joined(entries)]
    names = _Names(address)
    for entry in ordered:
        names.learn(entry)
    return [names.applied(entry) for entry in ordered]


def rendered(entries: Sequence[Entry]) -> str:
    """Return JSON with an entry a line, so that a diff shows what differs; of a list in it, with an item a line."""
    return "[\n" + ",\n".join(map(_rendered, entries)) + "\n]\n"


def _rendered(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {_rendered(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict):
        return "[\n    " + ",\n    ".join(map(_rendered, value)) + "\n  ]"
    return json.dumps(value, ensure_ascii=False)


def difference(recorded: str, seen: str) -> str:
    """Return the lines that differ, with those around them; empty if none does."""
    lines = difflib.unified_diff(recorded.split("\n"), seen.split("\n"), "recorded", "seen", lineterm="", n=2)
    return "\n".join(lines)


def _joined(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Join what one phone heard in pieces: how a text is cut depends on how fast it was written."""
    held: Entry | None = None
    for entry in entries:
        if held is not None and _continues(held, entry):
            held["hears"]["content"] += entry["hears"]["content"]
            continue
        if held is not None:
            yield held
        held = {**entry, "hears": dict(entry["hears"])} if isinstance(entry.get("hears"), dict) else entry
    if held is not None:
        yield held


def _continues(earlier: Entry, later: Entry) -> bool:
    if earlier.get("phone") != later.get("phone") or not all(_is_piece(each.get("hears")) for each in (earlier, later)):
        return False
    begun, more = earlier["hears"], later["hears"]
    same = all(begun[name] == more[name] for name in ("part", "conversation", "reply", "epoch"))
    return same and bool(more["offset"] == begun["offset"] + utf16_length(begun["content"]))


def _is_piece(frame: Frame | str | None) -> bool:
    return isinstance(frame, dict) and "part" in frame


def _ordered(value: Any, *, is_entry: bool = True) -> Any:
    """Return `value` with the fields of its objects in one order: to a client their order means nothing."""
    if isinstance(value, list):
        return [_ordered(each, is_entry=False) for each in value]
    if not isinstance(value, dict):
        return value
    fields = list(value) if is_entry else sorted(value, key=lambda name: (name not in FIRST, name))
    return {name: _ordered(value[name], is_entry=False) for name in fields}


class _Names:
    """Names for ids, the same in every run in which they appear in the same order."""

    def __init__(self, address: str) -> None:
        self._names = {address: "relay"}
        self._counts: Counter[str] = Counter()

    def learn(self, value: Any, field: str = "") -> None:
        """Name the ids in the `field` that has `value`."""
        if isinstance(value, dict):
            for name, each in value.items():
                self.learn(each, "reply" if (field, name) == ("reply", "id") else name)
        elif isinstance(value, list):
            for each in value:
                self.learn(each)
        elif isinstance(value, str):
            self._learn(value, field)

    def _learn(self, text: str, field: str) -> None:
        if field in ("reply", "active") and REPLY.fullmatch(text):
            self._name("reply", text)
        elif field == "next":
            self._name("cursor", text)
        elif field in ("conversation", "connectionId") and CONNECTION.fullmatch(text):
            self._name("connection", text)
        elif field == "id" and (both := APP_MESSAGE.fullmatch(text)):
            self._name("connection", both[1])
            self._name("message", both[2])
        for file in FILE.findall(text):
            self._name("file", file)

    def _name(self, kind: str, value: str) -> None:
        if value not in self._names:
            self._counts[kind] += 1
            self._names[value] = f"{kind}-{self._counts[kind]}"

    def applied(self, value: Any, field: str = "") -> Any:
        """Return `value` with names for ids, and without times."""
        if isinstance(value, dict):
            return {name: self.applied(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [self.applied(each) for each in value]
        if field in ("claude", "codex") and isinstance(value, int):
            return "<count>"  # of all connections to the deployment
        return self._applied(value, field) if isinstance(value, str) else value

    def _applied(self, text: str, field: str) -> Any:
        if field in TIMES and ISO_TIME.fullmatch(text):
            return "<time>"
        if field == "timestamp" and EPOCH_TIME_MS.fullmatch(text):
            return "<time in ms>"
        if field.lower().startswith("x-amz-") and field.lower().removeprefix("x-amz-") in SIGNED:
            return "<signed>"
        if field == "policy":
            return self.applied(_ordered(json.loads(base64.b64decode(text)), is_entry=False))
        if "X-Amz-Signature=" in text:
            address, _, query = text.partition("?")
            return self.applied({"address": address, **_ordered(dict(parse_qsl(query)), is_entry=False)})
        for value, name in self._names.items():
            text = text.replace(value, name)
        return _shortened(UUID.sub("<uuid>", text))


def _shortened(text: str) -> str:
    """Return a text that is too long for a line as its beginning, and what tells it from every other."""
    if len(text) <= LONGEST_SHOWN:
        return text
    return f"{text[:40]}… <{len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
