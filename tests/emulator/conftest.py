from collections.abc import Iterator

import pytest

from tests.builders.serving import Serving, serving

HEADERS_S = 1.5
"""For which an impatient gateway waits for headers."""


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway whose waits are short, but for idle and life."""
    limits = ("integration_timeout_s=5", "http_timeout_s=5", "retry_delay_s=0.05", "throttle_delay_s=0.1")
    options = [option for limit in limits for option in ("--limit", limit)]
    with serving(tmp_path_factory.mktemp("gateway"), *options, "--verbose") as started:
        yield started


@pytest.fixture(scope="session")
def faulty_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway that takes fault plans, and has none yet."""
    with serving(tmp_path_factory.mktemp("faulty"), "--faults", "{}") as started:
        yield started


@pytest.fixture(scope="session")
def impatient_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A gateway that waits little for headers and for traffic, and whose clients may leave little unread."""
    limits = ("idle_s=2", "client_buffer_bytes=65536", f"headers_s={HEADERS_S}", "max_environments=2")
    options = [option for limit in limits for option in ("--limit", limit)]
    with serving(tmp_path_factory.mktemp("impatient"), *options) as started:
        yield started
