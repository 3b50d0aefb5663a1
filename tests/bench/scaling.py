"""The page about cost and quotas: docs/scaling.md."""

from collections.abc import Callable, Iterable, Iterator

from chatrelay.wire.limits import HEARTBEAT_S
from tests.bench import cost

USERS = (100, 1_000, 10_000, 100_000, 1_000_000)


def page(table: Callable[[list[str], Iterable[list[str]]], list[str]]) -> Iterator[str]:
    """Yield its lines; `table` writes one in Markdown."""
    prices, chat = cost.Prices(), cost.Chat()
    ours, theirs = (cost.reply(chat, prices, one_post_a_delta=each) for each in (False, True))
    yield f"""# What it costs, and how far it goes

The tables are computed by `make bench` (`tests/bench/cost.py`) from published prices: us-east-1, on demand, no free
tier. What the model costs is not in them.

## 1,000 replies of {chat.reply_s:.0f} s, {chat.deltas_a_second:.0f} deltas a second, worker of {chat.memory_gb:.0f} GB
"""
    rows = [[part, f"${ours[part] * 1000:.3f}", f"${theirs[part] * 1000:.3f}"] for part in ours]
    rows.append(["**all**", f"**${sum(ours.values()) * 1000:.2f}**", f"**${sum(theirs.values()) * 1000:.2f}**"])
    yield from table(["part", "here", "one post a delta"], rows)
    yield """
Posts are the greater part. What DynamoDB costs is heartbeats, which make a dead worker known and keep what it wrote.

## A client that is connected and says nothing, a month
"""
    yield from table(["part", "dollars"], ([part, f"${each:.4f}"] for part, each in cost.idle_month(prices).items()))
    yield f"""
No function runs for it: API Gateway itself answers its `ping`, one in {HEARTBEAT_S} s.

## Where an account's quotas bind

A third of the users is online, and each of those sends six messages an hour, at random: the worst second of an hour, by
a simulation of arrivals. In bold: more than an account may use by default.
"""
    peaks = [cost.peak(users, chat) for users in USERS]
    quotas = list(peaks[0].needs)
    heads = [f"{quota.name} (quota {quota.most:,.0f})" for quota in quotas]
    yield from table(["users", *heads], ([f"{peak.users:,}", *_needs(peak)] for peak in peaks))
    yield "\nWhat to ask AWS for, before it binds:\n"
    yield from (f"- {quota.name}: {quota.asked_for}" for quota in quotas)


def _needs(peak: cost.Peak) -> Iterator[str]:
    for quota, need in peak.needs.items():
        yield f"**{need:,.0f}**" if quota in peak.over else f"{need:,.0f}"
