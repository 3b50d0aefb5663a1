"""Replies by id: where each is stored, its log while a worker writes, and how much of it each device has shown."""

import json
import time
from collections.abc import Callable, Iterator, Sequence

from chatrelay.domain.cursor import Stretch
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.domain.log import Part
from chatrelay.domain.text import utf16_length
from chatrelay.store.item_keys import ACK, JOURNAL, REPLY, REPLY_PK, WHOLE_REPLY, beginning_with, journal, name_in
from chatrelay.store.table import Put, Table, transient_as_unavailable

KEPT_S = 7 * 24 * 60 * 60
"""How long a reply can be found by its id, with its journal."""


class Replies:
    """The replies of all users."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def find(self, reply: str) -> ReplyLocation | None:
        """Return where `reply` is stored; None if there is no such reply."""
        item = self._table.get(REPLY_PK + reply, REPLY)
        if item is None:
            return None
        return ReplyLocation(reply, ConversationKey(item["user_id"], item["conversation"]), item["turn"])

    def register(self, location: ReplyLocation) -> Put:
        """Return the part of a transaction that lets the reply be found."""
        item = {"user_id": location.key.user, "conversation": location.key.conversation, "turn": location.turn}
        return Put({"pk": REPLY_PK + location.reply, "sk": REPLY, "expires_at": self._expires_at(), **item})

    def journal(self, reply: str, stretches: Sequence[Stretch]) -> None:
        """Store what was written of the log, in stretches that follow each other. Raise ``Unavailable``."""
        # Without a fence, because a reply has one writer in its life. What is added after its recovery is never read,
        # and what is added after a deletion goes by `delete_orphans`.
        entry = [
            {"part": each.number, "kind": each.part.kind, "facts": each.part.facts, "content": each.content}
            | ({} if each.part.grows else {"size": len(each.part.content)})
            for each in stretches
        ]
        place = {"pk": REPLY_PK + reply, "sk": journal(stretches[0].offset)}
        item = {**place, "stretches": json.dumps(entry, ensure_ascii=False), "expires_at": self._expires_at()}
        with transient_as_unavailable():
            self._table.put(item)

    def journaled(self, reply: str) -> list[Part]:
        """Return what a worker had written by its last heartbeat, up to the first gap if there is one."""
        parts: list[Part] = []
        length, size = 0, None
        for item in self._table.query(REPLY_PK + reply, *beginning_with(JOURNAL)):
            if int(name_in(item["sk"])) != length:
                break  # the table has refused the entry of a heartbeat
            for each in json.loads(item["stretches"]):
                if each["part"] == len(parts):
                    parts.append(Part(each["kind"], "", each["facts"]))
                parts[-1].content += each["content"]
                length, size = length + utf16_length(each["content"]), each.get("size")
        if size is not None and len(parts[-1].content) < size:
            parts.pop()  # what enters the log whole is kept whole or not at all
        return parts

    def acknowledge(self, reply: str, device: str, offset: int) -> None:
        """Record that the device has shown the reply up to UTF-16 `offset`, unless it has shown more already."""
        self._table.update(
            REPLY_PK + reply,
            ACK + device,
            "SET shown = :offset, expires_at = :expires_at",
            {":offset": offset, ":expires_at": self._expires_at()},
            condition="attribute_not_exists(shown) OR shown < :offset",  # frames may be handled in any order
        )

    def acknowledged(self, reply: str) -> dict[str, int]:
        """Return how far each device has shown the reply, in UTF-16 code units."""
        items = self._table.query(REPLY_PK + reply, *beginning_with(ACK))
        return {name_in(item["sk"]): int(item["shown"]) for item in items}

    def keys(self, reply: str) -> Iterator[tuple[str, str]]:
        """Yield the key of every item in the reply's partition."""
        for item in self._table.query(REPLY_PK + reply, *WHOLE_REPLY):
            yield item["pk"], item["sk"]

    def delete_orphans(self, reply: str) -> None:
        """Delete what a worker wrote while the reply was being deleted."""
        if self.find(reply) is None:
            self._table.delete_all(self.keys(reply))

    def _expires_at(self) -> int:
        return int(self._clock()) + KEPT_S
