"""What clients see is what was recorded, frame by frame and answer by answer.

``RECORD=1`` in the environment writes the recordings anew: read their diff before it is committed.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatrelay import protocol
from chatrelay.errors import Reason, Told
from tests.conftest import Relay
from tests.end_to_end import scenes
from tests.end_to_end.normal_form import difference, normal, rendered
from tests.end_to_end.recorder import Recorder
from tests.infra.bridgehub.sidecars import gone, needs_node, stayers

RECORDINGS = Path(__file__).parent / "recordings"
SCENES = [
    scenes.doors,
    scenes.questions,
    scenes.replies,
    scenes.endings,
    scenes.resumes,
    scenes.cancels,
    scenes.queues,
    scenes.calls,
    scenes.conversations,
    scenes.deletions,
    scenes.files,
    scenes.pushes,
    scenes.builderos,
    scenes.failures,
]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
async def test_clients_see_what_was_recorded(relay: Relay, scene: scenes.Scene) -> None:
    await compare(relay, scene)


@needs_node
async def test_clients_of_codex_see_what_was_recorded(relay_with_codex: Relay, codex_folder: Path) -> None:
    await compare(relay_with_codex, scenes.codex)
    await gone(await stayers(codex_folder))


async def compare(relay: Relay, scene: scenes.Scene) -> None:
    it = Recorder(relay, scene.__name__)
    await scene(it)
    seen = rendered(normal(it.entries, relay.address))
    file = RECORDINGS / f"{scene.__name__}.json"
    if os.environ.get("RECORD"):
        file.write_text(seen)
    differs = difference(file.read_text(), seen)
    assert not differs, f"clients see something else than {file.name} has:\n{differs}"
