from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import looptime


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Loops whose time passes by waiting alone: what a busy machine takes is no time in these tests."""
    return {"virtual time": looptime.new_event_loop}
