"""How long a connection lasts: in hours, which pass at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import looptime
import pytest

from emulator.gateway.connections import Connection, State
from emulator.gateway.events import Caller, Socket
from emulator.limits import Limits

SOCKET = Socket("api", "v1", {}, "local", "c1=", 0, Caller("127.0.0.1", "tests"))


async def lasted(every_s: float) -> float:
    """Return the seconds after which a connection closes on which there is traffic so often."""
    loop = asyncio.get_running_loop()
    connection, began = Connection(SOCKET, Limits()), loop.time()
    connection.open()
    ending = asyncio.create_task(connection.expire())
    while not ending.done() and loop.time() - began < 24 * 3600:
        await asyncio.wait({ending}, timeout=every_s)
        connection.touch()
    assert connection.state is State.CLOSED
    return loop.time() - began


def in_no_time(work: Coroutine[Any, Any, float]) -> float:
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(work)


@pytest.mark.parametrize(
    ("every_s", "lasts_s"),
    [
        pytest.param(9_999, 600, id="idle for ten minutes"),
        pytest.param(599, 7200, id="traffic keeps it, but not beyond two hours"),
    ],
)
def test_a_connection_lasts_as_long_as_amazon_lets_it(every_s: float, lasts_s: float) -> None:
    assert in_no_time(lasted(every_s)) == pytest.approx(lasts_s, abs=0.01)
