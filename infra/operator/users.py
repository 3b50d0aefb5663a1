"""Commands for users: what they have used and may use, and whether they are let in."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from chatrelay.domain.limits import NAMES, Limits, amount, said
from chatrelay.domain.prices import COUNTS
from chatrelay.domain.usage import MICRO, Month
from chatrelay.store.accounts import Account
from chatrelay.store.connections import Connection
from chatrelay.store.item_keys import received_ms
from chatrelay.store.replies import Replies
from chatrelay.wire.usage import parse_month
from infra.operator.command import command
from infra.operator.deployment import Deployment
from infra.operator.output import Output, Row, closed, moment

app = typer.Typer(name="users", help="Users, their limits and their usage.", no_args_is_help=True)

DEFAULT = "default"
"""The amount that lets the deployment's limit hold."""

User = Annotated[str, typer.Argument(help="as `users list` shows it")]


def limit_name(name: str) -> str:
    """Return `name` if there is such a limit. Raise ``BadParameter``."""
    if name not in NAMES:
        raise typer.BadParameter(f"there is no {name}; there are {', '.join(NAMES)}")
    return name


@command(app, "list")
def list_(deployment: Deployment, output: Output) -> None:
    """Show all users who ever came, those first who came last."""
    output.rows({"user": user} for user in deployment.store.accounts.all())


@command(app, "show")
def show(deployment: Deployment, output: Output, user: User) -> None:
    """Show a user's limits, usage of this month, sockets, devices, and the replies that are owed."""
    store = deployment.store
    account = _account(deployment, output, user)
    month = store.usages.month(user, parse_month({}, time.time()))
    connections = sorted(store.connections.of(account), key=lambda each: -each.connected_at)
    output.document(
        {
            "user": user,
            "blocked": account.is_blocked,
            "signed_out_at": moment(account.signed_out_at or None),
            "limits": _limits(account.overrides, deployment.limits),
            "usage": _usage(month),
            "models": list(_models(month)),
            "sockets": [_socket(each) for each in connections],
            "devices": [
                {
                    "id": device.id,
                    "platform": device.platform.value,
                    "registered_at": moment(device.registered_at_ms / 1000),
                    "credential": device.credential,
                }
                for device in store.devices.all(user)
            ],
            "replies": list(_owed(store.replies, account)),
        }
    )


@command(app, "limit")
def limit(
    deployment: Deployment,
    output: Output,
    user: User,
    name: Annotated[str, typer.Argument(help="as `users show` has it, e.g. dollars_per_day", callback=limit_name)],
    to: Annotated[str, typer.Argument(metavar="amount", help="a number, `none`, or `default` for the deployment's")],
) -> None:
    """Give a user a limit of its own, or let the deployment's hold again."""
    try:
        chosen = None if to == DEFAULT else amount(name, to)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None
    _account(deployment, output, user)
    accounts = deployment.store.accounts
    if to == DEFAULT:
        accounts.unlimit(user, name)
        output.done(f"{user}: {name} is the deployment's.", {"user": user, "name": name, "own": False})
    else:
        accounts.limit(user, name, chosen)
        document = {"user": user, "name": name, "limit": _limit(name, chosen), "own": True}
        output.done(f"{user}: {name} is {said(name, chosen)}.", document)


@command(app, "block")
def block(deployment: Deployment, output: Output, user: User) -> None:
    """Let a user in no more, close all sockets, and leave unanswered what waits."""
    _account(deployment, output, user)
    sockets = deployment.revocation.block(user)
    output.done(f"{user} is blocked. {closed(sockets)}", {"user": user, "sockets_closed": sockets})


@command(app, "unblock")
def unblock(deployment: Deployment, output: Output, user: User) -> None:
    """Let a user in again."""
    _account(deployment, output, user)
    deployment.store.accounts.unblock(user)
    output.done(f"{user} is let in again.", {"user": user})


@command(app, "sign-out")
def sign_out(deployment: Deployment, output: Output, user: User) -> None:
    """Take none of a user's tokens any more that were issued until now, and close their sockets. Keys go on."""
    _account(deployment, output, user)
    sockets = deployment.revocation.sign_out(user)
    output.done(f"{user} is signed out. {closed(sockets)}", {"user": user, "sockets_closed": sockets})


def _account(deployment: Deployment, output: Output, user: str) -> Account:
    """Return the user's account, and say so if nobody of that name ever came: the name may be mistyped."""
    account = deployment.store.accounts.get(user)
    if account.is_new:
        output.hint(f"Nobody has come as {user} yet.")
    return account


def _limits(overrides: Mapping[str, int | None], deployment: Limits) -> list[Row]:
    of_all = asdict(deployment)
    return [
        {
            "name": name,
            "limit": _limit(name, overrides.get(name, of_all[name])),
            "deployment": _limit(name, of_all[name]),
            "own": name in overrides,
        }
        for name in NAMES
    ]


def _limit(name: str, limit: int | None) -> float | None:
    return limit if limit is None or not name.startswith("dollars") else limit / MICRO


def _usage(month: Month) -> list[Row]:
    """Return what was used in the month and on each of its days, the latest first."""
    periods = {month.name: month.total, **dict(sorted(month.days.items(), reverse=True))}
    return [{"period": period, **_in_dollars(asdict(spent))} for period, spent in periods.items()]


def _models(month: Month) -> Iterator[Row]:
    """Yield what each model was used for on each day, the latest first."""
    for day, models in sorted(month.models.items(), reverse=True):
        for model, counts in sorted(models.items()):
            counted = {name: counts.get(name, 0) for name in (*COUNTS, "replies", "cost")}
            yield {"period": day, "model": model, **_in_dollars(counted)}


def _in_dollars(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return `counts` with dollars at the end instead of ``cost``, in micro-dollars."""
    return {name: count for name, count in counts.items() if name != "cost"} | {"dollars": counts["cost"] / MICRO}


def _socket(connection: Connection) -> Row:
    return {
        "id": connection.id,
        "connected_at": moment(connection.connected_at),
        "agent": connection.agent,
        "conversation": connection.viewing,
        "credential": connection.credential,
        "good_until": moment(connection.good_until),
    }


def _owed(replies: Replies, account: Account) -> Iterator[Row]:
    """Yield the replies that are owed to the user, in their order; first those that are stored nowhere any more."""
    found = {reply: replies.find(reply) for reply in account.replies}
    for reply, location in sorted(found.items(), key=lambda each: (each[1].turn if each[1] else "", each[0])):
        yield {
            "reply": reply,
            "conversation": location and location.key.conversation,
            "received_at": location and moment(received_ms(location.turn) / 1000),
        }
