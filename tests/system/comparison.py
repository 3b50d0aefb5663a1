"""What clients see of a scene, beside what was recorded of it."""

import os
from pathlib import Path

import pytest

from tests.system.normal_form import difference, normal, rendered
from tests.system.recorder import Recorder
from tests.system.scenes import Scene

RECORDINGS = Path(__file__).parent / "recordings"


async def played(it: Recorder, scene: Scene) -> str:
    """What clients see of a scene."""
    await scene(it)
    return rendered(normal(it.entries, it.relay.address))


def compare(scene: str, seen: str | BaseException) -> None:
    """Fail with the lines that differ."""
    if isinstance(seen, BaseException):
        raise seen
    file = RECORDINGS / f"{scene}.json"
    if os.environ.get("RECORD"):
        file.write_text(seen)
    if differs := difference(file.read_text(), seen):
        pytest.fail(f"clients see something else than {file.name} has:\n{differs}", pytrace=False)
