"""The contract is what the code does: its types, routes and examples. End-to-end tests hold to it what they hear."""

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import validate

from chatrelay.domain.blocks import FACT_BYTES
from chatrelay.domain.errors import InvalidMessage, Reason
from chatrelay.domain.log import KINDS, LONGEST
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.inbound import Defaults
from chatrelay.wire.limits import (
    AGENTS,
    CONVERSATION_LIMIT,
    CREDENTIAL_LIMIT,
    DEVICE_LIMIT,
    HEARTBEAT_S,
    ID_LIMIT,
    OFFSET_LIMIT,
    VERSION,
)
from tests.builders.contract import HTTP, JSON, SOCKET, faults_of_answer, faults_of_frame
from tests.builders.deployments import REPOSITORY
from tests.builders.phone import assembled, proves
from tests.builders.vocabulary import error_codes, frame_types

SCHEMAS = SOCKET["components"]["schemas"]
MESSAGES = SOCKET["components"]["messages"]
ACTIONS = ("hello", "send", "edit", "regenerate", "resume", "cancel", "ack", "auth", "ping")
DEFAULTS = Defaults("claude", "m", "c")
ROUTE = re.compile(r'ApiId: !Ref HttpApi, Method: (\w+), Path: (?:"([^"]+)"|([^"}]+))\}')
EXAMPLES = [(name, example["payload"]) for name, message in MESSAGES.items() for example in message["examples"]]
CALLS = [
    (method, path, status, answer)
    for path, operations in HTTP["paths"].items()
    for method, operation in operations.items()
    if method != "parameters"
    for status, answer in operation["responses"].items()
]


def test_it_is_openapi() -> None:
    validate(HTTP)


@pytest.mark.parametrize(("name", "payload"), EXAMPLES)
def test_an_example_is_a_frame_of_its_kind(name: str, payload: dict[str, Any]) -> None:
    assert faults_of_frame(payload) == []
    assert payload.get("action", payload.get("type", "gateway")) == name


@pytest.mark.parametrize("payload", [payload for name, payload in EXAMPLES if name in ACTIONS and name != "ping"])
def test_an_example_of_a_client_is_understood_whole_and_needs_what_the_contract_demands(
    payload: dict[str, Any],
) -> None:
    parsed = VERSION_1.parse(json.dumps(payload), DEFAULTS)
    for name in SCHEMAS[payload["action"]]["required"]:
        with pytest.raises(InvalidMessage):
            VERSION_1.parse(json.dumps({**payload, name: None}), DEFAULTS)
    told = {name: getattr(parsed, name) for name in payload if name not in ("action", "attachments")}
    assert told == {name: value for name, value in payload.items() if name in told}


def test_every_frame_is_named() -> None:
    assert set(MESSAGES) == frame_types() | {*ACTIONS, "pong", "gateway"}
    assert {name for name, schema in SCHEMAS.items() if "/Piece" in json.dumps(schema)} == KINDS
    said = SOCKET["operations"]["clientSays"]["messages"]
    assert {each["$ref"].rpartition("/")[2] for each in said} == {*ACTIONS}


def test_codes_reasons_and_limits_are_those_of_the_code() -> None:
    assert (
        {*SCHEMAS["Code"]["enum"]}
        == error_codes()
        == {*HTTP["components"]["schemas"]["Error"]["properties"]["code"]["enum"]}
    )
    assert {*SCHEMAS["Reason"]["enum"]} == {*Reason}
    assert (SCHEMAS["MessageId"]["maxLength"], SCHEMAS["Conversation"]["maxLength"]) == (ID_LIMIT, CONVERSATION_LIMIT)
    assert SCHEMAS["hello"]["properties"]["device"]["maxLength"] == DEVICE_LIMIT
    assert SCHEMAS["auth"]["properties"]["token"]["maxLength"] == CREDENTIAL_LIMIT
    assert SCHEMAS["Offset"]["maximum"] == OFFSET_LIMIT
    assert SCHEMAS["Proof"]["properties"]["length"]["maximum"] == LONGEST
    assert SCHEMAS["Fact"]["maxLength"] == FACT_BYTES
    assert {*SCHEMAS["send"]["properties"]["agent"]["enum"]} == {*AGENTS, "", None}
    ready = MESSAGES["ready"]["examples"][0]["payload"]
    assert (ready["protocol"], ready["heartbeat"]) == (VERSION, HEARTBEAT_S)


def test_every_route_of_the_template_is_described_and_no_other() -> None:
    template = (REPOSITORY / "template.yaml").read_text(encoding="utf-8")
    routes = {(method, re.sub(r"\{.*\}", "*", quoted + bare)) for method, quoted, bare in ROUTE.findall(template)}
    described = {(method.upper(), path) for method, path, *_ in CALLS}
    assert {_route(method, path, routes) for method, path in described} == routes


def _route(method: str, path: str, routes: set[tuple[str, str]]) -> tuple[str, str]:
    """Return the route that API Gateway chooses: the longest that fits."""
    fitting = [route for route in routes if route[0] == method and _fits(route[1], path)]
    return max(fitting, key=lambda route: len(route[1]), default=(method, path))


def _fits(route: str, path: str) -> bool:
    return path == route or (route.endswith("*") and path.startswith(route[:-1]))


@pytest.mark.parametrize(("method", "path", "status", "answer"), CALLS)
def test_an_answer_has_an_example_that_is_one(method: str, path: str, status: str, answer: dict[str, Any]) -> None:
    if "$ref" in answer:
        answer = HTTP["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    target = re.sub(r"\{\w+\}", "0" * 32, path)
    if JSON in answer.get("content", {}):
        example = answer["content"][JSON]["example"]
        assert faults_of_answer(method, target, int(status) if status.isdigit() else 403, example) == []


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        ({"type": "message", "content": ""}, "shorter than 1 character"),
        ({"part": -1}, "minimum"),
        ({"offset": None}, 'not of type "integer"'),
        ({"brand_new": 1}, "Unevaluated properties are not allowed ('brand_new' was unexpected)"),
        ({"type": "brand_new"}, "brand_new: no such frame"),
    ],
    ids=["empty", "below zero", "null", "unknown field", "unknown type"],
)
def test_what_the_contract_does_not_have_is_found(frame: dict[str, Any], fault: str) -> None:
    right = dict(MESSAGES["message"]["examples"][0]["payload"])
    assert any(fault in each for each in faults_of_frame({**right, **frame}))


def test_an_unknown_field_deep_in_an_answer_is_found() -> None:
    path = "/api/conversations/c1/messages"
    answer = json.loads(
        json.dumps(HTTP["paths"]["/api/conversations/{conversation}/messages"]["get"]["responses"]["200"])
    )
    example = answer["content"][JSON]["example"]
    assert faults_of_answer("GET", path, 200, example) == []
    example["turns"][0]["reply"]["brand_new"] = 1
    assert "brand_new" in faults_of_answer("GET", path, 200, example)[0]
    assert faults_of_answer("GET", "/api/nowhere", 404, {"message": "Not Found"}) == []


VECTORS = sorted((REPOSITORY / "protocol" / "vectors").glob("*.json"))
FRAMES = [
    (path.stem, number, frame)
    for path in VECTORS
    for number, step in enumerate(json.loads(path.read_text(encoding="utf-8"))["steps"])
    for frame in [*([step["hears"]] if "hears" in step else []), *step.get("says", ())]
]


READ = [
    (path.stem, step["reads"])
    for path in VECTORS
    for step in json.loads(path.read_text(encoding="utf-8"))["steps"]
    if "reads" in step
]


@pytest.mark.parametrize("answer", [pytest.param(answer, id=stem) for stem, answer in READ])
def test_what_a_vector_reads_over_http_is_of_the_contract(answer: dict[str, Any]) -> None:
    assert faults_of_answer("GET", "/api/conversations/c1/messages", 200, answer) == []


def test_a_vector_has_frames_of_the_contract() -> None:
    assert len(VECTORS) >= 30
    strange = {path for path, _, frame in FRAMES if faults_of_frame(frame)}
    assert strange == {"unknown-types"}
    assert {frame["type"] for _, _, frame in FRAMES if "type" in frame} >= KINDS | {
        "ready",
        "typing",
        "user",
        "resumed",
    }
    refused = {frame["code"] for _, _, frame in FRAMES if frame.get("type") == "error"}
    assert refused == error_codes() - {"unauthorized"}, "which closes the socket"


def test_the_examples_of_a_log_are_one_reply() -> None:
    pieces = [MESSAGES[kind]["examples"][0]["payload"] for kind in KINDS]
    pieces.sort(key=lambda piece: int(piece["part"]))
    assert [piece["part"] for piece in pieces] == [0, 1, 2, 3, 4]
    text = assembled(pieces)
    complete, broken = MESSAGES["complete"]["examples"][0]["payload"], MESSAGES["error"]["examples"][0]["payload"]
    assert (proves(complete, text), complete["parts"]) == (True, 5)
    assert proves(broken, assembled(pieces[:1]))
    assert all(piece["size"] == len(piece["content"]) for piece in pieces if "size" in piece)
