from collections.abc import Callable

import pytest

from tests.builders.deployments import Relay
from tests.scenarios.stage import GATEWAY


@pytest.fixture(scope="session")
def faulty(start_relay: Callable[..., Relay]) -> Relay:
    """A deployment whose faults are changed at run time."""
    return start_relay(*GATEWAY)
