"""Whatever happens on the way, in whatever order: what a client puts together is what the model wrote."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from chatrelay.domain.cursor import Cursor, Stretch
from chatrelay.domain.log import KINDS, Cited, Kind, Piece
from chatrelay.domain.reply import Ending, Reply
from chatrelay.domain.text import json_bytes, utf16_length
from tests.builders.written import whole
from tests.scenarios.client import Assembly

WORDS = st.text(st.sampled_from('aé漢😀👩\u200d\u0301"\\\n\x00\u2028'), min_size=1, max_size=12)
ROOMS_BYTES = st.integers(12, 60)
"""Even the longest character, as JSON has it, fits in twelve bytes."""


class Way(RuleBasedStateMachine):
    """A worker, a connection that may lose, repeat and re-order what it carries, and a client."""

    on_the_way: Bundle[Stretch] = Bundle("on_the_way")

    @initialize()
    def begin(self) -> None:
        self.reply = Reply("r")
        self.cursor = Cursor()
        self.client = Assembly("r", 1)
        self.taken: Stretch | None = None

    @rule(kind=st.sampled_from(sorted(KINDS)), text=WORDS)
    @precondition(lambda self: not self.reply.has_ended)
    def append(self, kind: Kind, text: str) -> None:
        self.reply.append(Piece(kind, text))

    @rule(url=WORDS)
    @precondition(lambda self: not self.reply.has_ended)
    def cite(self, url: str) -> None:
        self.reply.append(Cited(url, "Title", 1))

    @rule(room_bytes=ROOMS_BYTES, target=on_the_way)
    def take(self, room_bytes: int) -> Any:
        """A post goes out; that it arrived is not known yet."""
        stretch = self.cursor.next_stretch(self.reply.log, lambda *_: room_bytes)
        if stretch is None:
            assert self.cursor.offset == self.reply.log.length
            return multiple()
        assert 0 < json_bytes(stretch.content) <= room_bytes
        assert self.reply.log.parts[stretch.number] is stretch.part
        self.taken = stretch
        return stretch

    @rule()
    @precondition(lambda self: self.taken is not None)
    def hear_of_success(self) -> None:
        """The post was answered, whether or not the piece arrives. Until then it would be taken anew, and longer."""
        assert self.taken is not None
        self.cursor.advance(self.taken)
        self.taken = None

    @rule(piece=consumes(on_the_way))
    def deliver(self, piece: Stretch) -> None:
        self._arrives(piece)

    @rule(piece=on_the_way)
    def repeat(self, piece: Stretch) -> None:
        self._arrives(piece)

    @rule(piece=consumes(on_the_way))
    def lose(self, piece: Stretch) -> None:
        assert isinstance(piece, Stretch)

    @rule()
    def reconnect(self) -> None:
        """What is on the way still arrives, behind the client's back."""
        self.cursor, self.taken = Cursor.at(self.reply.log, self.client.length), None

    @rule(offset=st.integers(0, 400))
    def reconnect_anywhere(self, offset: int) -> None:
        """At an offset that the client never had, even one within a surrogate pair."""
        self.cursor, self.taken = Cursor.at(self.reply.log, offset), None
        assert self.cursor.offset <= offset

    @rule()
    @precondition(lambda self: not self.reply.has_ended)
    def complete(self) -> None:
        self.reply.complete(Ending("end_turn", "model", {}, []))

    @invariant()
    def the_client_has_the_beginning_of_the_log(self) -> None:
        if hasattr(self, "client"):
            assert whole(self.reply.log).startswith(self.client.text)

    @invariant()
    def the_cursor_counts_in_utf_16(self) -> None:
        if hasattr(self, "cursor"):
            parts = self.reply.log.parts[: self.cursor.number + 1]
            read = [*(part.content for part in parts[:-1]), *(part.content[: self.cursor.index] for part in parts[-1:])]
            assert self.cursor.offset == utf16_length("".join(read))

    def teardown(self) -> None:
        """One last resume brings what is missing, and the end proves it."""
        if not hasattr(self, "client"):
            return
        if not self.reply.has_ended:
            self.complete()
        self.reconnect()
        while stretch := self.cursor.next_stretch(self.reply.log, lambda *_: 32):
            self._arrives(stretch)
            self.cursor.advance(stretch)
        assert self.client.text == whole(self.reply.log)
        assert self.client.proved_by({"length": self.reply.log.length, "sha256": self.reply.log.sha256})

    def _arrives(self, piece: Stretch) -> None:
        beyond = piece.offset > self.client.length
        assert self.client.key({"offset": piece.offset, "content": piece.content}) is not beyond


TestWay = Way.TestCase
TestWay.settings = settings(max_examples=100, stateful_step_count=40)
