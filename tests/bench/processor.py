"""What a stream of deltas costs in processor time, by one technique, with botocore and real posts.

`python -m tests.bench.processor TECHNIQUE URL RATE SECONDS` in a process of its own prints one line of JSON.
"""

import asyncio
import json
import math
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from chatrelay.aws.management_api import CONCURRENT_POSTS, ManagementApi
from chatrelay.delivery.broadcast import Broadcast
from chatrelay.delivery.liveness import Liveness
from chatrelay.domain.keys import StreamId
from chatrelay.domain.log import Piece
from chatrelay.domain.reply import Ending, Reply
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.outbound import Outbound
from tests.bench.hot_path import Delta, even

CONNECTION = "c="


def one_post_a_delta(api: ManagementApi, deltas: Sequence[Delta]) -> None:
    for delta in arriving(deltas):
        api.post(CONNECTION, json.dumps({"type": "message", "content": delta.text}).encode())


def a_queue_and_a_thread(api: ManagementApi, deltas: Sequence[Delta]) -> None:
    waiting: queue.Queue[str | None] = queue.Queue()

    def post() -> None:
        while (text := waiting.get()) is not None:
            api.post(CONNECTION, json.dumps({"type": "message", "content": text}).encode())

    posting = threading.Thread(target=post)
    posting.start()
    for delta in arriving(deltas):
        waiting.put(delta.text)
    waiting.put(None)
    posting.join()


def ours(api: ManagementApi, deltas: Sequence[Delta]) -> None:
    asyncio.run(_ours(api, deltas))


async def _ours(api: ManagementApi, deltas: Sequence[Delta]) -> None:
    reply, stream, began_s = Reply("r"), StreamId("c", "r", 1), time.monotonic()
    with ThreadPoolExecutor(CONCURRENT_POSTS) as threads:
        async with Broadcast(reply, stream, api.post, threads, Liveness(math.inf)) as broadcast:
            await broadcast.join(CONNECTION, VERSION_1, [])
            for delta in deltas:
                await asyncio.sleep(delta.at_s - (time.monotonic() - began_s))
                reply.append(Piece("message", delta.text))
                broadcast.wake()
            reply.complete(Ending("end_turn", "claude", {}, []))
            broadcast.wake()
            broadcast.end(Outbound("complete"))


def arriving(deltas: Sequence[Delta]) -> Iterator[Delta]:
    began_s = time.monotonic()
    for delta in deltas:
        time.sleep(max(0.0, delta.at_s - (time.monotonic() - began_s)))
        yield delta


TECHNIQUES: dict[str, Callable[[ManagementApi, Sequence[Delta]], None]] = {
    "one post a delta": one_post_a_delta,
    "a queue and a thread": a_queue_and_a_thread,
    "ours": ours,
}


def main(technique: str, url: str, rate: str, seconds: str) -> None:
    api, deltas = ManagementApi.connect(url), even(int(rate), float(seconds))
    api.post(CONNECTION, b"{}")  # the connection is dialled, and botocore has built what it needs
    began_s = time.process_time()
    TECHNIQUES[technique](api, deltas)
    used_s = time.process_time() - began_s
    json.dump({"processor_s": used_s, "deltas": len(deltas)}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
