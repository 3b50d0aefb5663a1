"""What clients see is what was recorded, frame by frame and answer by answer.

``RECORD=1`` in the environment writes the recordings anew: read their diff before it is committed.
"""

import asyncio
import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from itertools import pairwise

import pytest
import pytest_asyncio
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from chatrelay.domain.errors import Reason
from chatrelay.store.table import Table
from chatrelay.wire.builderos import AUTHENTICATED, INVALID_API_KEY
from tests.builders.deployments import REPOSITORY, Relay
from tests.builders.vocabulary import error_codes, frame_types
from tests.system import scenes
from tests.system.comparison import RECORDINGS, compare, played
from tests.system.normal_form import Entry
from tests.system.recorder import Recorder

RESOURCES = yaml_parse((REPOSITORY / "template.yaml").read_text(encoding="utf-8"))["Resources"]
UNRECORDED = {Reason.TIME: "a reply may take a quarter of an hour"}
SESSION = (
    (
        (scenes.endings,),
        (scenes.doors, scenes.questions, scenes.calls, scenes.files),
        (scenes.pushes, scenes.conversations),
    ),
    (
        (scenes.resumes, scenes.cancels, scenes.queues),
        (scenes.replies, scenes.builderos, scenes.deletions, scenes.replacements),
    ),
    (
        (scenes.failures, scenes.users),
        (scenes.pages,),
    ),
)
"""Acts, one after the other, each of scenes that run side by side in rows.

A reply that is held keeps an environment of the function that answers, of which there are three: no act has more than
two at once. In the last act one scene kills them all, and no other needs them.
"""
SCENES = [scene for act in SESSION for row in act for scene in row]
Seen = dict[str, str | BaseException]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def session(relay: Relay, worker: dict[str, str], table: Table) -> Seen:
    """What clients see of the whole session, by its scenes."""
    seen: Seen = {}

    async def play(row: Sequence[scenes.Scene]) -> None:
        for scene in row:
            async with Recorder(relay, worker, table, scene.__name__) as it:
                (seen[scene.__name__],) = await asyncio.gather(played(it, scene), return_exceptions=True)

    for act in SESSION:
        await asyncio.gather(*map(play, act))
    return seen


@pytest.mark.parametrize("scene", [scene.__name__ for scene in SCENES])
@pytest.mark.asyncio(loop_scope="module")
async def test_clients_see_what_was_recorded(session: Seen, scene: str) -> None:
    compare(scene, session[scene])


def test_every_type_of_frame_is_recorded() -> None:
    heard = [entry["hears"] for entry in recorded() if "hears" in entry]
    types = {frame if isinstance(frame, str) else frame["type"] for frame in heard}
    assert types == {*frame_types(), "pong", AUTHENTICATED, INVALID_API_KEY}


def test_every_error_is_recorded_with_every_reason() -> None:
    heard = [entry["hears"] for entry in recorded() if "code" in entry.get("hears", ())]
    assert {error["code"] for error in heard} == error_codes()
    assert {error["reason"] for error in heard if "reason" in error} == {*Reason} - UNRECORDED.keys()


def test_every_action_is_recorded() -> None:
    said = [entry["says"] for entry in recorded() if isinstance(entry.get("says"), dict)]
    actions = {*RESOURCES["WebSocketApi"]["Properties"]["Routes"]} | {
        resource["Properties"]["RouteKey"]
        for resource in RESOURCES.values()
        if resource["Type"] == "AWS::ApiGatewayV2::Route"
    }
    assert {action for action in actions if not action.startswith("$")} <= {frame.get("action") for frame in said}


def test_every_call_is_recorded_with_an_answer_that_is_no_refusal() -> None:
    answered = {
        entry["calls"].replace("http://relay", "").partition("?")[0]
        for entry, answer in pairwise(recorded())
        if isinstance(entry.get("calls"), str) and answer["answer"] < HTTPStatus.BAD_REQUEST
    }
    events = RESOURCES["ApiFunction"]["Properties"]["Events"].values()
    routes = {f"{event['Properties']['Method']} {event['Properties']['Path']}" for event in events}
    assert [route for route in sorted(routes) if not any(map(re.compile(pattern(route)).fullmatch, answered))] == []


def recorded() -> list[Entry]:
    """Return what all recordings have."""
    files = (RECORDINGS / f"{scene.__name__}.json" for scene in (*SCENES, scenes.codex))
    return [entry for file in files for entry in json.loads(file.read_text())]


def pattern(route: str) -> str:
    """A regular expression for the calls of a route: `{name+}` takes all that is left, `{name}` one step."""
    return re.sub(r"\\{\w+(\\\+)?\\}", lambda variable: ".+" if variable[1] else "[^/]+", re.escape(route))
