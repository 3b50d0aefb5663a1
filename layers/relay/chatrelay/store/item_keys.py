"""The grammar of the table's keys: see ``chatrelay.store`` for what each item is. Pure.

What ends in ``#`` is the beginning of a key, and a name follows it: an id, or a turn.
"""

from chatrelay.domain.keys import ConversationKey

Range = tuple[str, str]
"""The first and the last sort key of a query."""

# --- partition keys ---

CONNECTION_PK = "CONNECTION#"
COUNT_PK = "COUNT#"
API_KEY_PK = "KEY#"
CONVERSATION_PK = "CONVERSATION#"
WORKER_PK = "WORKER#"
REPLY_PK = "REPLY#"
USER_PK = "USER#"
PUSHTOKEN_PK = "PUSHTOKEN#"
PUSHED_PK = "PUSHED#"

# --- sort keys of partitions that have one such item ---

CONNECTION = "CONNECTION"
RECENTLY_CLOSED = "RECENTLY_CLOSED"
API_KEY = "KEY"
HEADER = "CONVERSATION"
LEASE = "CONVERSATION#LEASE"
WORKER = "WORKER"
REPLY = "REPLY"
OWNER = "OWNER"
ACCOUNT = "ACCOUNT"
PROFILE = "PROFILE"

# --- sort keys of partitions that have many ---

VIEWER = "VIEWER#"
MESSAGE_ID = "ID#"
TURN = "TURN#"
QUEUE = "QUEUE#"
JOURNAL = "JOURNAL#"
ACK = "ACK#"
DEVICE = "DEVICE#"
MINUTE = "MINUTE#"
REVOKED = "REVOKED#"
USAGE = "USAGE#"

CONTENTS: Range = (MESSAGE_ID, "TURN$")
"""Message ids, queue and turns: all of a conversation but its state and its viewers."""
WHOLE_REPLY: Range = (ACK, REPLY)
"""Acknowledgments, journal and location: all that a reply's partition has."""


def conversation_pk(key: ConversationKey) -> str:
    """Return the partition of a conversation. The user is part of it, so nobody reaches another's."""
    return f"{CONVERSATION_PK}{key.user}#{key.conversation}"


def name_in(key: str) -> str:
    """Return what follows the kind: ``a#b`` in ``DEVICE#a#b``."""
    return key.partition("#")[2]


def beginning_with(prefix: str) -> Range:
    """Return the range of all sort keys that begin with `prefix`, which ends in ``#``, whatever follows it."""
    return prefix, prefix.removesuffix("#") + "$"  # the character after "#" in the order of DynamoDB


def bucket(number: int) -> str:
    """Return the sort key of the count of the connections that opened in those ten minutes."""
    return f"{number:011d}"


def journal(offset: int) -> str:
    """Return the sort key of the text from UTF-16 `offset` on."""
    return f"{JOURNAL}{offset:010d}"


# --- turns ---


def turn_name(received_ms: int, reply: str) -> str:
    """Return the name of a turn. The order of these names is the order of the conversation."""
    return f"{received_ms:013d}#{reply}"  # thirteen digits last until the year 2286


def received_ms(turn: str) -> int:
    """Return when API Gateway received the message of `turn`, in milliseconds since 1970."""
    return int(turn.partition("#")[0])


def turn_in(sk: str) -> str:
    """Return the name of the turn that an item is part of."""
    return "#".join(sk.split("#")[1:3])


def turn_message(turn: str) -> str:
    """Return the sort key of the turn's message."""
    return f"{TURN}{turn}#1"


def turn_reply(turn: str) -> str:
    """Return the sort key of the turn's reply."""
    return f"{TURN}{turn}#2"


def reply_piece(turn: str, reply: str, number: int) -> str:
    """Return the sort key of a piece of `reply` that has no room in the item of the turn's reply."""
    return f"{turn_reply(turn)}#{reply}#{number:03d}"


def reply_parts(turn: str) -> Range:
    """Return the range of the turn's reply and all its pieces."""
    return turn_reply(turn), f"{turn_reply(turn)}$"
