"""What a deployment costs, and where an account's quotas bind: from published prices, and what the code does. Pure.

Prices: Region us-east-1, on demand, without the free tier, from the price pages of API Gateway (WebSocket APIs), Lambda
(arm64), DynamoDB (on-demand, standard class) and Anthropic (Claude Sonnet), as of November 2026. Quotas: an account's
defaults, which AWS raises.
"""

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from chatrelay.wire.limits import HEARTBEAT_S

MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """In dollars. A message is a frame of up to 32 KB, in either direction."""

    message: float = 1.00 / MILLION
    connection_minute: float = 0.25 / MILLION
    request: float = 0.20 / MILLION
    gb_second: float = 0.0000133334
    write_unit: float = 0.625 / MILLION
    read_unit: float = 0.125 / MILLION
    output_token: float = 15.00 / MILLION


@dataclass(frozen=True)
class Chat:
    """One message and its reply: seconds that the model writes, deltas a second, memory of ``message`` in GB."""

    reply_s: float = 30.0
    deltas_a_second: float = 60.0
    memory_gb: float = 1.0


POSTS_A_SECOND = 25
HEARTBEATS_A_SECOND = 2
ITEMS_ACCEPTED = 9
"""Written in the transaction that accepts a message: two units each."""
ITEMS_AT_THE_END = 4
"""The reply, its user, the day and the month: two units each. The lease is one more."""
READS = 9
IDLE_RECONNECTS_A_MONTH = 30 * 24 / 2
"""API Gateway closes every socket after two hours."""
PINGS_A_MINUTE = 60 / HEARTBEAT_S
MINUTES_A_MONTH = 30 * 24 * 60


def reply(chat: Chat, prices: Prices, *, one_post_a_delta: bool = False) -> Mapping[str, float]:
    """Return the dollars of one message and its reply, by part."""
    rate = chat.deltas_a_second if one_post_a_delta else min(chat.deltas_a_second, POSTS_A_SECOND)
    heartbeats = 0 if one_post_a_delta else HEARTBEATS_A_SECOND * chat.reply_s
    writes = 2 * (ITEMS_ACCEPTED + ITEMS_AT_THE_END) + 1 + 2 * heartbeats  # a heartbeat writes lease and journal
    return {
        "frames": (1 + 2 + rate * chat.reply_s) * prices.message,
        "Lambda": chat.reply_s * chat.memory_gb * prices.gb_second + 2 * prices.request,
        "DynamoDB": writes * prices.write_unit + READS * prices.read_unit,
    }


def model(chat: Chat, prices: Prices) -> float:
    """Return the dollars that the model writes a reply for, if a delta is a token; what it reads is not in them."""
    return chat.reply_s * chat.deltas_a_second * prices.output_token


def idle_month(prices: Prices, pings_a_minute: float = PINGS_A_MINUTE) -> Mapping[str, float]:
    """Return the dollars a month of a client that is connected and says nothing, by part. No function runs for it."""
    return {
        "connection": MINUTES_A_MONTH * prices.connection_minute,
        "pings and pongs": 2 * pings_a_minute * MINUTES_A_MONTH * prices.message,
        "a reconnect every two hours": IDLE_RECONNECTS_A_MONTH
        * (3 * prices.request + 16 * prices.write_unit + 6 * prices.read_unit + 0.6 * 0.5 * prices.gb_second),
    }


# --- where quotas bind ---


@dataclass(frozen=True)
class Quota:
    """What an account may use by default, and what to ask AWS for."""

    name: str
    most: float
    asked_for: str


CONCURRENCY = Quota("functions at once", 1_000, "Lambda: concurrent executions")
HANDSHAKES = Quota("new connections a second", 500, "API Gateway: new connections per second per account")
REQUESTS = Quota("frames and posts a second", 10_000, "API Gateway: throttle rate")
WRITES = Quota("write units a second", 40_000, "DynamoDB: table-level write throughput")


@dataclass(frozen=True)
class Peak:
    """The most that so many users need at once, in the busiest hour, and the quotas that this is over."""

    users: int
    needs: Mapping[Quota, float]

    @property
    def over(self) -> list[Quota]:
        return [quota for quota, most in self.needs.items() if most > quota.most]


def peak(users: int, chat: Chat, *, messages_an_hour: float = 6.0, online: float = 0.3, seed: int = 1) -> Peak:
    """Return what `users` need at the worst second of an hour in which messages come at random.

    Of them the part `online` is connected; each of those sends `messages_an_hour`. Many users are played in part and
    scaled, with what chance adds to a mean of that size.
    """
    random = Random(seed)  # noqa: S311
    connected = users * online
    rate_s = connected * messages_an_hour / 3600
    played_s = min(3600.0, 200_000 / max(rate_s, 1e-9))
    ends: list[float] = []
    most, now_s = 0, 0.0
    while (now_s := now_s + random.expovariate(rate_s)) < played_s:
        while ends and ends[0] <= now_s:
            heapq.heappop(ends)
        heapq.heappush(ends, now_s + random.expovariate(1 / chat.reply_s))
        most = max(most, len(ends))
    streams = most + 3 * math.sqrt(most) * (played_s < 3600)
    reconnects_s = connected / 7200
    writes = streams * 2 * HEARTBEATS_A_SECOND + rate_s * (2 * ITEMS_ACCEPTED + ITEMS_AT_THE_END) + reconnects_s * 5
    return Peak(
        users,
        {
            CONCURRENCY: streams + rate_s,  # beside the writers the light functions, under a second each
            HANDSHAKES: reconnects_s + 3 * math.sqrt(reconnects_s),
            REQUESTS: streams * min(chat.deltas_a_second, POSTS_A_SECOND)
            + rate_s * 3
            + connected * PINGS_A_MINUTE / 60,
            WRITES: writes,
        },
    )
