import functools
import gc
import os
from collections.abc import Iterator

import botocore.session
import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

import chatrelay.agents.claude  # noqa: F401 -- before others import the SDK whole: the relay imports a third of it

pytest_plugins = ["tests.builders.deployments", "tests.builders.browser", "tests.builders.layer", "tests.builders.push"]

# What takes longer than most tests is not read anew by each of them: what boto3 knows of AWS is read once, and the
# authorities' certificates are not read at all, for they vouch for nothing that a test meets.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = os.devnull

# What a test shows must not depend on how busy the machine is.
settings.register_profile("busy", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("nightly", settings.get_profile("busy"), max_examples=2000)
settings.load_profile("busy")


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """No garbage is collected: where a recursion has no room left, every finalizer would fail, and with it the test."""
    gc.disable()
    yield
    gc.enable()


STAGES = {
    "tests/system/": "the deployment",
    "tests/events/": "the deployment",
    "tests/playground/": "the deployment",
    "tests/emulator/": "the emulator with functions of its own",
    "tests/scenarios/": "the deployment with faults",
    "tests/layers/chatrelay/store/": "DynamoDB Local",
    "tests/layers/chatrelay/relay/": "moto",
}
"""What tests share that takes seconds of a processor to start. Those with the most to do come first."""


def _stage(nodeid: str) -> str | None:
    return next((stage for folder, stage in STAGES.items() if nodeid.startswith(folder)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left alone with it at the end."""
    order = [*dict.fromkeys(STAGES.values()), None]
    items.sort(key=lambda item: order.index(_stage(item.nodeid)))


class ByStage(LoadFileScheduling):  # type: ignore[misc]
    """The tests of a stage are one worker's, so that no other one sets it up, too. So are those of any other file."""

    def _split_scope(self, nodeid: str) -> str:
        return _stage(nodeid) or str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByStage:
    """How tests are shared among workers."""
    return ByStage(config, log)


def pytest_collection_finish() -> None:
    """Spare the garbage collector what was collected: it lives to the end. That is a twentieth of what tests take."""
    gc.freeze()
