"""Recordings of streams, and what may become of them on the way: seeded, so that a failure can be played again."""

import base64
import copy
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

Event = dict[str, Any]
Frame = Callable[[Event], bytes]
"""One event as it stands in a stream."""

JUNK: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    float("nan"),
    float("-inf"),
    "",
    " ",
    "x",
    "\ud83d",
    "\ude00",
    "\u2028\x85",
    "NaN",
    [],
    {},
    [None],
    {"type": None},
    {"type": "text"},
    [[[[]]]],
)
NOISE_BYTES = (b"\n", b"\r", b"\r\n", b"\0", b"\xff", b":", b"{", b'"', b"[" * 3000, b"\xef\xbb\xbf", b"data:", b"null")

AWS_CHUNK = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}


def mutated(events: Sequence[Event], frame: Frame, random: Random) -> bytes:
    """The recording `events` as it may arrive when a service or something before it has gone mad."""
    changed: list[Event] = json.loads(json.dumps(events))  # the quickest copy
    for _ in range(random.randint(0, 3)):
        _change_an_event(changed, random)
    if changed and random.random() < 0.3:
        at = random.randrange(len(changed))
        random.choice([_drop, _double, _swap])(changed, at, random)
    stream = b"".join(map(frame, changed))
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        at = random.randint(0, len(stream))
        end = min(len(stream), at + random.choice([0, 0, 1, 7]))
        stream = stream[:at] + random.choice(NOISE_BYTES) + stream[end:]
    return stream[: random.randint(0, len(stream))] if random.random() < 0.1 else stream


def chunked(stream: bytes, random: Random) -> list[bytes]:
    """In pieces, as a network may deliver it."""
    cuts = sorted(random.randint(0, len(stream)) for _ in range(random.choice([0, 1, 5])))
    return [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def _change_an_event(events: list[Event], random: Random) -> None:
    places = list(_places(random.choice(events))) if events else []
    if not places:
        return
    holder, key = random.choice(places)
    if random.random() < 0.2:
        del holder[key]
    else:
        holder[key] = copy.deepcopy(random.choice(JUNK))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value within `value`, as what holds it and under which key."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _drop(events: list[Event], at: int, _: Random) -> None:
    del events[at]


def _double(events: list[Event], at: int, _: Random) -> None:
    events.insert(at, copy.deepcopy(events[at]))


def _swap(events: list[Event], at: int, random: Random) -> None:
    other = random.randrange(len(events))
    events[at], events[other] = events[other], events[at]


def as_sse(event: Event) -> bytes:
    return f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode(errors="replace")


def as_line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"


def framed(headers: bytes, payload: bytes) -> bytes:
    """One message of ``application/vnd.amazon.eventstream``."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


def aws_headers(headers: dict[str, str]) -> bytes:
    return b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )


def as_aws(event: Event) -> bytes:
    """As Bedrock sends it."""
    inner = base64.b64encode(json.dumps(event).encode()).decode()
    return framed(aws_headers(AWS_CHUNK), json.dumps({"bytes": inner}).encode())


def as_odd_aws(random: Random) -> Frame:
    """The same, with headers now and then that are none, under the right checksum."""

    def frame(event: Event) -> bytes:
        if random.random() > 0.03:
            return as_aws(event)
        headers = bytearray(aws_headers(AWS_CHUNK))
        headers[random.randrange(len(headers))] = random.randrange(256)
        return framed(bytes(headers[: random.choice([len(headers), random.randrange(len(headers))])]), b"{}")

    return frame
