import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

pytest_plugins = ["tests.builders.deployments", "tests.builders.browser", "tests.builders.layer", "tests.builders.push"]

# What a test shows must not depend on how busy the machine is.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

DYNAMODB_LOCAL = "chatrelay/store/"
"""The tests that use it."""


class ByService(LoadFileScheduling):  # type: ignore[misc]
    """The tests of a file are one worker's, and those of all files that share a service that takes long to start."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return DYNAMODB_LOCAL if DYNAMODB_LOCAL in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByService:
    """How tests are shared among workers."""
    return ByService(config, log)
