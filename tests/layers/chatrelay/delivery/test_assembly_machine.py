"""Whatever happens on the way, in whatever order: what a client puts together is what the model wrote."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from chatrelay.delivery.pacing import Cursor, Piece
from chatrelay.domain.reply import Ending, Reply
from chatrelay.domain.text import json_bytes, utf16_length
from tests.scenarios.client import Assembly

WORDS = st.text(st.sampled_from('aé漢😀👩\u200d\u0301"\\\n\x00\u2028'), min_size=1, max_size=12)
ROOMS_BYTES = st.integers(12, 60)
"""Even the longest character, as JSON has it, fits in twelve bytes."""


class Way(RuleBasedStateMachine):
    """A worker, a connection that may lose, repeat and re-order what it carries, and a client."""

    on_the_way: Bundle[Piece] = Bundle("on_the_way")

    @initialize()
    def begin(self) -> None:
        self.reply = Reply("r")
        self.cursor = Cursor()
        self.client = Assembly("r", 1)
        self.taken: Piece | None = None

    @rule(text=WORDS)
    @precondition(lambda self: not self.reply.has_ended)
    def append(self, text: str) -> None:
        self.reply.append(text)

    @rule(room_bytes=ROOMS_BYTES, target=on_the_way)
    def take(self, room_bytes: int) -> Piece:
        """A post goes out; that it arrived is not known yet."""
        piece = self.cursor.next_piece(self.reply.text, room_bytes)
        assert json_bytes(piece.content) <= room_bytes
        assert piece.content or self.cursor.index == len(self.reply.text), "an empty piece is the end of the text"
        self.taken = piece
        return piece

    @rule()
    @precondition(lambda self: self.taken is not None)
    def hear_of_success(self) -> None:
        """The post was answered, whether or not the piece arrives. Until then it would be taken anew, and longer."""
        assert self.taken is not None
        self.cursor.advance(self.taken)
        self.taken = None

    @rule(piece=consumes(on_the_way))
    def deliver(self, piece: Piece) -> None:
        self._arrives(piece)

    @rule(piece=on_the_way)
    def repeat(self, piece: Piece) -> None:
        self._arrives(piece)

    @rule(piece=consumes(on_the_way))
    def lose(self, piece: Piece) -> None:
        assert isinstance(piece, Piece)

    @rule()
    def reconnect(self) -> None:
        """What is on the way still arrives, behind the client's back."""
        self.cursor, self.taken = Cursor.at(self.reply.text, self.client.length), None

    @rule(offset=st.integers(0, 400))
    def reconnect_anywhere(self, offset: int) -> None:
        """At an offset that the client never had, even one within a surrogate pair."""
        self.cursor, self.taken = Cursor.at(self.reply.text, offset), None
        assert self.cursor.offset <= offset

    @rule()
    @precondition(lambda self: not self.reply.has_ended)
    def complete(self) -> None:
        self.reply.complete(Ending("end_turn", "model", {}, []))

    @invariant()
    def the_client_has_the_beginning_of_the_text(self) -> None:
        if hasattr(self, "client"):
            assert self.reply.text.startswith(self.client.text)

    @invariant()
    def the_cursor_counts_in_utf_16(self) -> None:
        if hasattr(self, "cursor"):
            assert self.cursor.offset == utf16_length(self.reply.text[: self.cursor.index])

    def teardown(self) -> None:
        """One last resume brings what is missing, and the end proves it."""
        if not hasattr(self, "client"):
            return
        self.reconnect()
        while (piece := self.cursor.next_piece(self.reply.text, 32)).content:
            self._arrives(piece)
            self.cursor.advance(piece)
        assert self.client.text == self.reply.text
        assert self.client.proved_by({"length": self.reply.length, "sha256": self.reply.sha256})

    def _arrives(self, piece: Piece) -> None:
        beyond = piece.offset > self.client.length
        assert self.client.key({"offset": piece.offset, "content": piece.content}) is not beyond


TestWay = Way.TestCase
TestWay.settings = settings(max_examples=100, stateful_step_count=40)
