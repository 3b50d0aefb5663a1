"""Commands for conversations. They show texts only where they are told to."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from chatrelay.domain.errors import Forbidden
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.usage import MICRO
from chatrelay.store.archive import Archive, Exchange, Summary
from chatrelay.store.item_keys import received_ms
from chatrelay.store.leases import Lease
from infra.operator.command import command
from infra.operator.deployment import Deployment
from infra.operator.output import TEXT, Output, Row, moment

app = typer.Typer(
    name="conversations", help="Conversations: who writes, what waits, what was answered.", no_args_is_help=True
)

User = Annotated[str, typer.Argument(help="as `users list` shows it")]


@command(app, "list")
def list_(
    deployment: Deployment,
    output: Output,
    user: User,
    *,
    text: Annotated[bool, typer.Option("--text", help="with titles, which are how the first message begins")] = False,
) -> None:
    """Show a user's conversations, the latest first."""
    output.rows(
        {
            "conversation": each.conversation,
            "updated_at": moment(each.updated_at_ms / 1000),
            **({"title": each.title} if text else {}),
        }
        for each in _all(deployment.store.archive, user)
    )


@command(app, "show")
def show(
    deployment: Deployment,
    output: Output,
    user: User,
    conversation: Annotated[str, typer.Argument(help="as `conversations list` shows it")],
    *,
    text: Annotated[bool, typer.Option("--text", help="with what was said")] = False,
) -> None:
    """Show who writes in a conversation, what waits, and the last replies."""
    key, store = ConversationKey(user, conversation), deployment.store
    try:
        exchanges = store.archive.exchanges(key, None, replaced=True).items
    except Forbidden:
        cure = f"`conversations list {user}` shows which there are"
        raise LookupError(f"{user} has no conversation {conversation}: {cure}") from None
    document = {
        "user": user,
        "conversation": conversation,
        "writer": _writer(store.leases.get(key)),
        "queue": [
            {"reply": waiting.reply, "received_at": moment(received_ms(waiting.turn) / 1000)}
            for waiting in store.conversations.waiting(key)
        ],
        "replies": [_reply(each) for each in reversed(exchanges)],
    }
    if text:
        document["texts"] = [said for each in exchanges for said in _said(user, each)]
    output.document(document)


def _all(archive: Archive, user: str) -> Iterator[Summary]:
    page = archive.conversations(user, None)
    yield from page.items
    while page.next is not None:
        page = archive.conversations(user, page.next)
        yield from page.items


def _writer(lease: Lease) -> Row | None:
    """Return who writes, and until when that is so without another heartbeat; None if nobody does."""
    if lease.writer is None:
        return None
    return {
        "reply": lease.writer.reply,
        "worker": lease.writer.worker,
        "epoch": lease.fence,
        "alive_until": moment(lease.alive_until_ms / 1000),
        "expired": lease.expired,
        "cancelled": lease.cancelled,
    }


def _reply(exchange: Exchange) -> Row:
    used, ended_ms = exchange.used, exchange.ended_at_ms
    return {
        "reply": exchange.reply.stream.reply,
        "agent": exchange.agent,
        "status": exchange.status,
        "replaced": exchange.is_replaced,
        "received_at": moment(exchange.received_at_ms / 1000),
        "ended_at": moment(None if ended_ms is None else ended_ms / 1000),
        "length": exchange.reply.log.length,
        "model": used and used.model,
        "tokens": used and used.total,
        "dollars": None if used is None or used.cost is None else used.cost / MICRO,
    }


def _said(user: str, exchange: Exchange) -> Iterator[dict[str, Any]]:
    yield {"reply": exchange.reply.stream.reply, "by": user, TEXT: exchange.content}
    yield {"reply": exchange.reply.stream.reply, "by": exchange.agent, TEXT: exchange.reply.log.text}
