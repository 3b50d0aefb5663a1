"""How much of a log somebody has: what comes next, cut to what a frame or an item has room for. Pure."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

from chatrelay.domain.log import KINDS, Kind, Log, Part
from chatrelay.domain.text import json_bytes, truncate_to_json, utf16_length, utf16_prefix

OF_STRETCH_BYTES = 100
"""What a stretch takes beside its content and its part's description: names, numbers, commas."""


@dataclass(frozen=True)
class Stretch:
    """A piece of a log, of one part: `content` begins at UTF-16 `offset` of the log, and `part` has `number`."""

    number: int
    part: Part
    offset: int
    content: str


@dataclass
class Cursor:
    """A place in a log: `index` characters into the part `number`.

    `offset` is that place in UTF-16 code units. A reader of parts of some `kinds` knows of no others, and counts none.
    """

    number: int = 0
    index: int = 0
    offset: int = 0
    kinds: Collection[Kind] = KINDS

    @classmethod
    def at(cls, log: Log, offset: int, kinds: Collection[Kind] = KINDS) -> "Cursor":
        """Return the cursor of a reader who has the first `offset` UTF-16 code units of `log`."""
        cursor = cls(kinds=kinds)  # at the end of the log for a client that claims to have more
        while (part := cursor.next_part(log)) is not None:
            known = utf16_prefix(part.content, offset - cursor.offset)
            cursor._pass(known)
            if len(known) < len(part.content):
                break
        return cursor

    def next_part(self, log: Log) -> Part | None:
        """Return the part that has more to read; None if none has yet. Pass over what the reader does not show."""
        while self.number < len(log.parts):
            part = log.parts[self.number]
            if self.index < len(part.content) and part.kind in self.kinds:
                return part
            self.index = len(part.content)
            if self.number == len(log.parts) - 1:
                return None
            self.number, self.index = self.number + 1, 0
        return None

    def next_stretch(self, log: Log, room_bytes: Callable[[int, Part], int]) -> Stretch | None:
        """Return what comes next of the log; None if there is no more yet.

        `room_bytes` says how many bytes of a part's content, in a JSON string, there is room for.
        """
        part = self.next_part(log)
        if part is None:
            return None
        room = room_bytes(self.number, part)
        # Sliced first: no character takes less than a byte, and a slow reader may be far behind.
        content = truncate_to_json(part.content[self.index : self.index + room], room)
        return Stretch(self.number, part, self.offset, content)

    def take(self, log: Log, room_bytes: int) -> list[Stretch]:
        """Return what comes next of the log, at most about `room_bytes` as JSON, and move behind that."""
        taken: list[Stretch] = []
        left = room_bytes

        def room(*_: object) -> int:
            return left

        while (stretch := self.next_stretch(log, room)) and stretch.content:
            taken.append(stretch)
            self.advance(stretch)
            left -= json_bytes(stretch.content) + len(json.dumps(stretch.part.facts)) + OF_STRETCH_BYTES
        return taken

    def advance(self, stretch: Stretch) -> None:
        """Move behind `stretch`, which has arrived."""
        self._pass(stretch.content)

    def _pass(self, content: str) -> None:
        self.index += len(content)
        self.offset += utf16_length(content)
