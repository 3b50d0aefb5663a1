"""Templates of the corpus behind one real gateway: what is served answers, what is not says so."""

import json
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.builders.serving import Serving, serving
from tests.emulator.template import corpus

NODE = "Not served: local-Node-N: only Python functions run here, not nodejs22.x"
IAM = "Not served: authorization of type AWS_IAM is not checked here, so nobody is let in"


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    template = str(corpus.FOLDER / "together.yaml")
    with serving(tmp_path_factory.mktemp("together"), "--template", template) as started:
        yield started


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("x", 200, "inline"),
        ("prod/x", 200, {"version": "1.0", "path": None}),
        ("Url-FUrl/any", 200, {"version": "2.0", "path": "/Url-FUrl/any"}),
        ("Node-ServerlessHttpApi/n", 501, {"message": NODE}),
        ("Iam-Api/x", 501, {"message": IAM}),
    ],
)
def test_route_answers_or_says_why_not(together: Serving, path: str, status: int, body: object) -> None:
    answer = httpx.get(together.http(path))
    assert answer.status_code == status
    assert (answer.text if isinstance(body, str) else answer.json()) == body


def test_invocation_of_a_function_that_cannot_run_fails_with_the_reason(together: Serving) -> None:
    assert together.invoke("local-Node-N", {}) == {"errorType": "NotServed", "errorMessage": NODE}


def test_message_to_a_route_that_is_not_served_is_answered_with_the_reason(together: Serving) -> None:
    with connect(together.websocket("prod")) as socket:
        socket.send('{"action": "other"}')
        message = json.loads(socket.recv(timeout=60))["message"]
    assert message.startswith("Not served: an integration of type HTTP is not served")


def test_handshake_that_something_else_protects_is_refused_with_the_reason(together: Serving) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(together.websocket("Closed-Api")):
        pass
    assert refused.value.response.status_code == 501
    assert json.loads(refused.value.response.body or b"")["message"] == IAM


def test_everything_that_is_not_served_was_said_at_the_start(together: Serving) -> None:
    assert [line for line in together.printed if line.startswith("Not served")] == [
        line for line in corpus.said()["together"] if line.startswith("Not served")
    ]
