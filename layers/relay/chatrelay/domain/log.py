"""A reply as one log of characters, in parts that follow each other. Pure.

One number says how much of a reply somebody has: the position, in UTF-16 code units from the beginning of the log,
over all parts. Nothing ever leaves a log.

| kind | `content` | `facts` |
|---|---|---|
| ``message`` | text of the answer | |
| ``reasoning`` | what the model thinks, as far as it may be shown | |
| ``tool`` | a tool's input, as JSON text | ``call``, ``name``, ``by`` |
| ``tool_result`` | what came back, as JSON text | ``call``, ``is_error``, ``truncated``? |
| ``source`` | a url that the text before it cites | ``title``, ``from``, ``to``: the positions that it supports |

The first two grow. The others enter the log whole.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeGuard, get_args

from chatrelay.domain.text import utf16_length, utf16_prefix

Kind = Literal["message", "reasoning", "tool", "tool_result", "source"]
KINDS: frozenset[Kind] = frozenset(get_args(Kind))
GROWING = ("message", "reasoning")
LONGEST = 600_000
"""UTF-16 code units of a log: far beyond what a model may write, and what one transaction of DynamoDB can store."""


@dataclass(frozen=True)
class Piece:
    """What a model writes next: more of a part that grows, or another part, whole."""

    kind: Kind
    content: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cited:
    """A source of the last `length` UTF-16 code units of text."""

    url: str
    title: str
    length: int


@dataclass(frozen=True)
class NewTry:
    """The model's service is asked anew, or another one is: what it writes begins parts of its own."""


Written = Piece | Cited | NewTry


def is_text(event: object) -> TypeGuard[Piece]:
    """Return whether that is text of the answer itself."""
    return isinstance(event, Piece) and event.kind == "message"


@dataclass
class Part:
    """One part of a log, as far as it is written."""

    kind: Kind
    content: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def grows(self) -> bool:
        """Whether the part may be longer later."""
        return self.kind in GROWING


class Log:
    """The parts of one reply. `length` is in UTF-16 code units; `is_full` says that something had no room."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self.parts: list[Part] = []
        self.length = 0
        self.is_full = False
        self._facts = 0
        self._hash = hashlib.sha256()
        self._sources: dict[str, Part] = {}
        for part in parts:
            self._enter(part)
        self._begins_part = True

    def append(self, written: Written) -> None:
        """Append what a model has written next. What is empty is no part."""
        match written:
            case NewTry():
                self.settle()
                self._begins_part = True
            case Cited():
                supports = {"from": self.length - written.length, "to": self.length}
                source = Part("source", written.url, {"title": written.title, **supports})
                self._sources.setdefault(written.url, source)
            case Piece(content=""):
                pass
            case Piece(kind="message") if self._grows("message"):
                self._grow(written.content)
            case Piece():
                self.settle()
                if self._grows(written.kind):
                    self._grow(written.content)
                else:
                    self._enter(Part(written.kind, written.content, written.facts))

    def settle(self) -> None:
        """Let the sources of a text follow it: nothing more comes to that text."""
        sources, self._sources = self._sources, {}
        for source in sources.values():
            self._enter(source)

    @property
    def text(self) -> str:
        """The text of the answer: the ``message`` parts."""
        return "".join(part.content for part in self.parts if part.kind == "message")

    @property
    def sha256(self) -> str:
        """SHA-256 of the whole log's UTF-8 bytes, hexadecimal."""
        return self._hash.hexdigest()

    @property
    def _room(self) -> int:
        # What describes the parts is stored with them, and takes its room as well.
        return max(0, LONGEST - self.length - self._facts)

    def _grows(self, kind: Kind) -> bool:
        last = self.parts[-1] if self.parts else None
        return not self._begins_part and last is not None and last.grows and last.kind == kind

    def _enter(self, part: Part) -> None:
        facts = len(json.dumps(part.facts)) if part.facts else 0
        fits = utf16_length(part.content) + facts <= self._room
        if fits or (part.grows and utf16_prefix(part.content, self._room)):
            self.parts.append(replace(part, content=""))
            self._begins_part = False
            self._facts += facts
            self._grow(part.content)
        else:
            self.is_full = True

    def _grow(self, content: str) -> None:
        if utf16_length(content) > self._room:
            content, self.is_full = utf16_prefix(content, self._room), True
        self.parts[-1].content += content
        self.length += utf16_length(content)
        self._hash.update(content.encode())  # as it grows, so that the last frame need not wait for a hash of it all
