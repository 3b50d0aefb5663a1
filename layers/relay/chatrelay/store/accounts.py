"""Users: whether they are let in, what of theirs is open or owed, and their own limits. One item a user.

``sockets``, ``replies`` and ``devices`` are sets of ids, so that what is added or removed twice counts once.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from chatrelay.domain.errors import ClientError, Ended, RateLimited, TooManyReplies
from chatrelay.domain.identity import Identity
from chatrelay.domain.limits import UNLIMITED, Limits, left_s
from chatrelay.domain.usage import Spent
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import ACCOUNT, MINUTE, PROFILE, REVOKED, USER_PK, name_in
from chatrelay.store.table import IF_ABSENT, Check, Put, Table, Update, Write

OWNER = "#USERS"
"""The owner of all users in the index ``by_owner``."""
DAY_MS = 24 * 60 * 60 * 1000
REVOKED_S = 30 * 24 * 60 * 60
"""How long a sign-in stays signed out at least: longer than a token of it lives, and is renewed."""
MINUTE_KEPT_S = 10 * 60
MOST = 1000
"""What no limit is for sockets and devices: an item of DynamoDB has at most 400 KB."""
NOT_BLOCKED = "attribute_not_exists(blocked_at_ms)"
NOTHING = "NOTHING"
NEVER = "attribute_exists(pk)"
"""No user has an item ``NOTHING``, and none may ever be written."""

Kind = Literal["sockets", "devices", "replies"]

Allowance = Sequence[tuple[Write, ClientError]]
"""Parts of a transaction, each with what its user hears if it is refused."""


@dataclass(frozen=True)
class Account:
    """A user. `overrides` are limits of this user's own; `signed_out_at` is since 1970, in seconds."""

    user: str
    limits: Limits
    is_new: bool = False
    overrides: Mapping[str, int | None] = field(default_factory=dict)
    is_blocked: bool = False
    signed_out_at: int = 0
    sockets: frozenset[str] = frozenset()
    replies: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()


class Accounts:
    """All users. `limits` are those of users without limits of their own."""

    def __init__(self, table: Table, limits: Limits = UNLIMITED, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._limits = limits
        self._clock = clock

    def get(self, user: str) -> Account:
        """Return the user's account; a new one for a user who never came."""
        return self.read(user, self._table.get(*self.key(user)))

    def key(self, user: str) -> tuple[str, str]:
        """Return the key of the user's item."""
        return USER_PK + user, ACCOUNT

    def read(self, user: str, item: Item | None) -> Account:
        """Return the account that `item` is."""
        known = item or {}
        overrides = {name: None if value is None else int(value) for name, value in known.get("limits", {}).items()}
        return Account(
            user,
            self._limits.overridden(overrides),
            item is None,
            overrides,
            "blocked_at_ms" in known,
            int(known.get("signed_out_at", 0)),
            *(frozenset(known.get(name, ())) for name in ("sockets", "replies", "devices")),
        )

    # --- who is let in ---

    def admit(self, identity: Identity) -> Account:
        """Return the account of somebody whose credential is right. Raise ``Ended`` if it is not good any more."""
        revoked = (USER_PK + identity.user, REVOKED + identity.credential)
        items = self._table.get_all(self.key(identity.user), revoked)
        account = self.read(identity.user, items.get(self.key(identity.user)))
        if account.is_blocked:
            raise Ended("blocked")
        if identity.expires_at is not None and identity.issued_at <= account.signed_out_at:
            raise Ended("signed out")
        if revoked in items:
            raise Ended("revoked")
        return account

    def admission(self, identity: Identity) -> list[Write]:
        """Return the parts of a transaction that are refused where ``admit`` would refuse by then."""
        condition, values = _admitted(identity)
        return [Check(*self.key(identity.user), condition, values), self._not_revoked(identity)]

    def enter(self, identity: Identity, kind: Kind, id: str, limit: int | None) -> list[Write]:  # noqa: A002 - the field's name
        """Return the parts of a transaction that add a socket or a device to the user's.

        The first is refused if there are as many as `limit` without it, and both are where ``admit`` would refuse.
        """
        condition, values = _admitted(identity)
        condition += f" AND (attribute_not_exists({kind}) OR size({kind}) < :limit OR contains({kind}, :id))"
        values = {**values, ":limit": MOST if limit is None else limit, ":id": id}
        key = self.key(identity.user)
        return [
            Update(*key, f"ADD {kind} :entered", {**values, ":entered": {id}}, condition),
            self._not_revoked(identity),
            self._listed(identity.user),
        ]

    def leave(self, user: str, kind: Kind, *ids: str) -> Update:
        """Return the part of a transaction that takes something from what is the user's."""
        return Update(*self.key(user), f"DELETE {kind} :left", {":left": set(ids)})

    # --- what a message may use ---

    def allowance(self, account: Account, spent: tuple[Spent, Spent], reply: str) -> Allowance:
        """Return the parts of a transaction that let the user have another message answered, by `reply`."""
        now_s, user, limits = self._clock(), account.user, account.limits
        if (used_up := limits.quota(*spent, now_s)) is not None:
            # A part that is always refused, and no exception at once: a message that is known is refused as that.
            return [(Check(USER_PK + user, NOTHING, NEVER), used_up)]
        condition: str = NOT_BLOCKED
        values: Item = {":owed": {reply}}
        if limits.replies_at_once is not None:
            condition += " AND (attribute_not_exists(replies) OR size(replies) < :limit)"
            values |= {":limit": limits.replies_at_once}
        owed = Update(*self.key(user), "ADD replies :owed", values, condition)
        parts: list[tuple[Write, ClientError]] = [(owed, TooManyReplies(limits.replies_at_once or 0, account.replies))]
        if limits.messages_per_minute is not None:
            counted = Update(
                USER_PK + user,
                MINUTE + str(int(now_s) // 60),
                "ADD messages :one SET expires_at = :expires_at",
                {":one": 1, ":limit": limits.messages_per_minute, ":expires_at": int(now_s) + MINUTE_KEPT_S},
                "attribute_not_exists(messages) OR messages < :limit",
            )
            sentence = f"You may send {limits.messages_per_minute} messages a minute."
            parts.append((counted, RateLimited(sentence, retry_after_s=left_s("minute", now_s))))
        return parts

    def introduction(self, account: Account) -> list[Write]:
        """Return the part of a transaction that lets the operator see a new user; none for one who is known."""
        return [self._listed(account.user)] if account.is_new else []

    def ended(self, user: str, reply: str) -> Update:
        """Return the part of a transaction after which the user is owed `reply` no more."""
        return self.leave(user, "replies", reply)

    def forget(self, user: str, replies: Iterable[str]) -> None:
        """Owe the user these replies no more: they are stored as ended, or nowhere."""
        self._table.update(*self.key(user), "DELETE replies :gone", {":gone": set(replies)})

    # --- for the operator ---

    def all(self) -> Iterator[str]:
        """Return the names of all users, those first who came last; a day's in any order."""
        return (name_in(item["pk"]) for item in self._table.all_owned_by(OWNER))

    def block(self, user: str) -> None:
        """Let the user in no more, accept nothing of theirs, and leave unanswered what waits."""
        self._set(user, "blocked_at_ms", int(self._clock() * 1000))

    def unblock(self, user: str) -> None:
        """Let the user in again."""
        self._table.update(*self.key(user), "REMOVE blocked_at_ms", {})

    def sign_out(self, user: str) -> None:
        """Take none of the user's tokens any more that were issued until now. Keys go on."""
        self._set(user, "signed_out_at", int(self._clock()))

    def revoke(self, identity: Identity) -> None:
        """Take the credential no more, nor another token of the same sign-in."""
        item: Item = {"pk": USER_PK + identity.user, "sk": REVOKED + identity.credential}
        if identity.expires_at is not None:
            item["expires_at"] = max(int(self._clock()) + REVOKED_S, identity.expires_at)
        self._table.put(item)

    def limit(self, user: str, name: str, limit: int | None) -> None:
        """Give the user a limit of their own; None for no limit."""
        self.override(user, {**self.get(user).overrides, name: limit})

    def unlimit(self, user: str, name: str) -> None:
        """Let the deployment's limit hold for the user again."""
        self.override(user, {own: limit for own, limit in self.get(user).overrides.items() if own != name})

    def override(self, user: str, limits: Mapping[str, int | None]) -> None:
        """Give the user these limits of their own, and no others."""
        self._set(user, "limits", limits)

    def _set(self, user: str, attribute: str, value: Any) -> None:
        changed = Update(*self.key(user), f"SET {attribute} = :value", {":value": value})
        self._table.transact(changed, self._listed(user))

    def _listed(self, user: str) -> Put:
        """Return the part of a transaction that puts the user into the list of all."""
        # By days, so that the index is written once a day and not with every socket.
        today_ms = int(self._clock() * 1000) // DAY_MS * DAY_MS
        return Put({"pk": USER_PK + user, "sk": PROFILE, "owner_id": OWNER, "updated_at": today_ms})

    def _not_revoked(self, identity: Identity) -> Check:
        return Check(USER_PK + identity.user, REVOKED + identity.credential, IF_ABSENT)


def _admitted(identity: Identity) -> tuple[str, Item]:
    """Return the condition on an account that its user is let in, and its values."""
    if identity.expires_at is None:
        return NOT_BLOCKED, {}
    signed_in = "(attribute_not_exists(signed_out_at) OR signed_out_at < :issued_at)"
    return f"{NOT_BLOCKED} AND {signed_in}", {":issued_at": identity.issued_at}
