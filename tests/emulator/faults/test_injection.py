"""Every fault of a plan, seen from outside a real gateway. Times are only ever waited for, never raced."""

import asyncio
import concurrent.futures
import contextlib
import json
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from websockets.asyncio.client import ClientConnection, connect

from emulator.__main__ import main
from tests.builders.patience import PATIENCE_S
from tests.builders.serving import CONFORMANCE, Record, Serving, eventually, serving, shake_hands

_TABLE = "local-things"
_AGES_S = 3600


@pytest.fixture(scope="module")
def stage() -> Iterator[contextlib.ExitStack]:
    """What runs for all tests here, until it is closed."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def faulty_gateway(stage: contextlib.ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """A gateway whose first plan is from a file."""
    folder = tmp_path_factory.mktemp("faulty")
    (folder / "plan.yaml").write_text("seed: 9\nposts:\n  - {do: drop, nth: 2}\n")
    return stage.enter_context(serving(folder / "served", "--faults", str(folder / "plan.yaml")))


@pytest.fixture(scope="module")
def first_report(faulty_gateway: Serving) -> Any:
    """What the gateway told of that plan, before it was given another one."""
    return report(faulty_gateway)


@pytest.fixture
def faulty(faulty_gateway: Serving, first_report: Any) -> Iterator[Serving]:  # noqa: ARG001 - asked for in time
    """A gateway without faults, before and after."""
    clear(faulty_gateway)
    yield faulty_gateway
    if faulty_gateway.process.poll() is None:  # the last test ends it
        clear(faulty_gateway)


def ask(gateway: Serving, method: str, **more: Any) -> httpx.Response:
    """Ask at the path of plans."""
    return httpx.request(method, gateway.http("_faults"), timeout=PATIENCE_S, **more)


def put(gateway: Serving, seed: int = 0, **sections: Any) -> None:
    ask(gateway, "POST", json={"seed": seed, **sections}).raise_for_status()


def counts(gateway: Serving) -> list[tuple[int, int]]:
    """Give (chosen, applied) of each fault."""
    return [(fault["chosen"], fault["applied"]) for fault in report(gateway)["faults"]]


def report(gateway: Serving) -> Any:
    return ask(gateway, "GET").raise_for_status().json()


def clear(gateway: Serving) -> None:
    assert ask(gateway, "DELETE").status_code == 204


async def identify(client: ClientConnection) -> str:
    """The answer to a message without a route is API Gateway's own: no post, and no plan's business."""
    await client.send("{}")
    return str(json.loads(await client.recv())["connectionId"])


def post(gateway: Serving, identifier: str, *texts: str) -> list[int]:
    """Return the status of each post."""
    management = gateway.management()
    return [_status(management, identifier, text) for text in texts]


def _status(management: Any, identifier: str, text: str) -> int:
    try:
        answer = management.post_to_connection(ConnectionId=identifier, Data=text.encode())
    except ClientError as error:
        answer = error.response
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


async def arriving(client: ClientConnection, count: int) -> list[str]:
    return [str(await client.recv()) for _ in range(count)]


def marked(mark: str) -> Any:
    return lambda record: record["event"].get("mark") == mark


def disconnected(identifier: str) -> Any:
    def wanted(record: Record) -> bool:
        context = record["event"].get("requestContext", {})
        return (context.get("connectionId"), context.get("routeKey")) == (identifier, "$disconnect")

    return wanted


def storing(key: str) -> list[Any]:
    return ["dynamodb", "put_item", {"TableName": _TABLE, "Item": {"pk": {"S": key}}}]


def keys(gateway: Serving, *names: str) -> list[bool]:
    """Whether items are in the table."""
    dynamodb = gateway.services("dynamodb")
    return ["Item" in dynamodb.get_item(TableName=_TABLE, Key={"pk": {"S": name}}) for name in names]


def new_names(count: int) -> list[str]:
    return [uuid.uuid4().hex for _ in range(count)]


# --- posts ---


async def test_dropped_post_is_answered_and_never_arrives(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "drop", "nth": 2}])
    async with connect(faulty.websocket("plain")) as client:
        assert post(faulty, await identify(client), "a", "b", "c") == [200, 200, 200]
        assert await arriving(client, 2) == ["a", "c"]
    assert counts(faulty) == [(1, 1)]


async def test_delayed_post_takes_that_long_and_arrives(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "delay", "nth": 1, "seconds": 0.4}])
    async with connect(faulty.websocket("plain")) as client:
        identifier = await identify(client)
        began = time.monotonic()
        assert post(faulty, identifier, "a") == [200]
        assert time.monotonic() - began >= 0.4
        assert await arriving(client, 1) == ["a"]


async def test_post_whose_connection_closes_while_it_is_delayed_is_410_whatever_else_would_become_of_it(
    faulty: Serving,
) -> None:
    put(faulty, posts=[{"do": "delay", "seconds": _AGES_S}, {"do": "drop"}])
    with concurrent.futures.ThreadPoolExecutor() as threads:
        async with connect(faulty.websocket("plain")) as client:
            identifier = await identify(client)
            status = threads.submit(post, faulty, identifier, "a")
            eventually(lambda: counts(faulty)[0] == (1, 1))
        faulty.recorded(disconnected(identifier))
        put(faulty)
        assert status.result() == [410]


async def test_repeated_post_arrives_twice(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "repeat", "nth": 1}])
    async with connect(faulty.websocket("plain")) as client:
        assert post(faulty, await identify(client), "a", "b") == [200, 200]
        assert await arriving(client, 3) == ["a", "a", "b"]


async def test_reordered_posts_arrive_after_the_next(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "reorder", "nth": [1, 2, 5], "seconds": _AGES_S}])
    async with connect(faulty.websocket("plain")) as client:
        assert post(faulty, await identify(client), *"abcdef") == [200] * 6
        assert await arriving(client, 6) == ["c", "a", "b", "d", "f", "e"]


async def test_reordered_post_without_a_next_arrives_in_time(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "reorder", "nth": 1, "seconds": 0.2}])
    async with connect(faulty.websocket("plain")) as client:
        assert post(faulty, await identify(client), "a") == [200]
        assert await arriving(client, 1) == ["a"]


async def test_refused_posts_never_arrive_and_their_connection_stays_open(faulty: Serving) -> None:
    codes = {410: "GoneException", 429: "LimitExceededException", 500: "InternalServerErrorException"}
    put(faulty, posts=[{"do": "refuse", "nth": nth, "status": status} for nth, status in enumerate(codes, 1)])
    async with connect(faulty.websocket("plain")) as client:
        identifier, management = await identify(client), faulty.management()
        for status, code in codes.items():
            with pytest.raises(ClientError) as error:
                management.post_to_connection(ConnectionId=identifier, Data=b"a")
            assert error.value.response["Error"]["Code"] == code
            assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert post(faulty, identifier, "b") == [200]
        assert await arriving(client, 1) == ["b"]


async def test_lost_answer_is_an_error_after_the_post_has_arrived(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "lose_answer", "nth": 1}])
    async with connect(faulty.websocket("plain")) as client:
        assert post(faulty, await identify(client), "a", "b") == [500, 200]
        assert await arriving(client, 2) == ["a", "b"]


async def test_lost_answer_may_be_a_silence(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "lose_answer", "seconds": _AGES_S}])
    config = Config(retries={"total_max_attempts": 1}, read_timeout=0.3)
    async with connect(faulty.websocket("plain")) as client:
        identifier = await identify(client)
        management = impatient(faulty, config)
        with pytest.raises(ReadTimeoutError):
            management.post_to_connection(ConnectionId=identifier, Data=b"a")
        management.close()
        assert await arriving(client, 1) == ["a"]


def impatient(gateway: Serving, config: Config) -> Any:
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=gateway.http("plain"),
        region_name="us-east-1",
        aws_access_key_id=gateway.credentials.access_key,
        aws_secret_access_key=gateway.credentials.secret_key,
        aws_session_token=gateway.credentials.token,
        config=config,
    )


async def test_posts_are_counted_for_each_connection_and_one_can_be_named(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "drop", "nth": 1, "connection": 2}])
    async with connect(faulty.websocket("plain")) as first:
        one = await identify(first)
        async with connect(faulty.websocket("plain")) as second:
            two = await identify(second)
            post(faulty, one, "a"), post(faulty, two, "a", "b")
            assert (await arriving(first, 1), await arriving(second, 1)) == (["a"], ["b"])


async def test_same_seed_loses_the_same_posts_again(faulty: Serving) -> None:
    first, again, other = [await _surviving(faulty, seed) for seed in (7, 7, 8)]
    assert first == again != other
    assert 0 < len(first) < 12


async def _surviving(gateway: Serving, seed: int) -> list[str]:
    put(gateway, seed, posts=[{"do": "drop", "probability": 0.5}])
    async with connect(gateway.websocket("plain")) as client:
        identifier = await identify(client)
        post(gateway, identifier, *map(str, range(12)))
        put(gateway)
        post(gateway, identifier, "end")
        arrived = [await client.recv()]
        while arrived[-1] != "end":
            arrived.append(await client.recv())
    return [str(text) for text in arrived[:-1]]


# --- sockets ---


async def test_socket_is_closed_after_its_nth_post_has_arrived(faulty: Serving) -> None:
    put(faulty, sockets=[{"do": "close", "posts": 2, "code": 4001}])
    async with connect(faulty.websocket("plain")) as client:
        identifier = await identify(client)
        assert post(faulty, identifier, "a", "b", "c") == [200, 200, 410]
        assert await arriving(client, 2) == ["a", "b"]
        await client.wait_closed()
        assert client.close_code == 4001
    faulty.recorded(disconnected(identifier))
    assert counts(faulty) == [(1, 1)]


async def test_socket_is_closed_some_seconds_after_it_opened(faulty: Serving) -> None:
    put(faulty, sockets=[{"do": "close", "seconds": 0.3, "nth": 1}])
    began = time.monotonic()
    async with connect(faulty.websocket("plain")) as client:
        await client.wait_closed()
        assert time.monotonic() - began >= 0.3
        assert client.close_code == 1001
    async with connect(faulty.websocket("plain")) as client:
        assert await identify(client)
    assert counts(faulty) == [(1, 1)]


async def test_socket_that_its_client_closes_first_is_chosen_but_not_closed(faulty: Serving) -> None:
    put(faulty, sockets=[{"do": "close", "seconds": _AGES_S}])
    async with connect(faulty.websocket("plain")) as client:
        identifier = await identify(client)
    faulty.recorded(disconnected(identifier))
    assert counts(faulty) == [(1, 0)]


def test_socket_is_reset_without_a_close_frame(faulty: Serving) -> None:
    put(faulty, sockets=[{"do": "close", "posts": 1, "abort": True}])
    with socket.socket() as client:
        shake_hands(client, faulty, "/plain?mark=reset")
        found = faulty.recorded(lambda r: (r["event"].get("queryStringParameters") or {}).get("mark") == "reset")
        identifier = str(found[-1]["event"]["requestContext"]["connectionId"])
        eventually(lambda: post(faulty, identifier, "last") == [200] or counts(faulty) == [(1, 1)])
        with pytest.raises(ConnectionResetError):  # An end in order is an empty answer, which ends the loop.
            _read_to_the_end(client)
    event = faulty.recorded(disconnected(identifier))[0]["event"]
    assert event["requestContext"]["disconnectStatusCode"] == 1006


def _read_to_the_end(client: socket.socket) -> None:
    while client.recv(4096):
        continue


async def test_disconnect_of_a_socket_that_is_closed_can_be_lost(faulty: Serving) -> None:
    put(faulty, sockets=[{"do": "close", "posts": 1, "lose_disconnect": True, "connection": 1}])
    async with connect(faulty.websocket("plain")) as client:
        lost = await identify(client)
        post(faulty, lost, "a")
        await client.wait_closed()
    faulty.logged(f"{lost[:8]}  $disconnect is lost")
    await _leave_and_be_heard(faulty)
    assert not [record for record in faulty.records() if disconnected(lost)(record)]


async def test_disconnect_of_a_client_that_leaves_can_be_lost(faulty: Serving) -> None:
    put(faulty, sockets=[{"do": "lose_disconnect", "nth": 1}])
    async with connect(faulty.websocket("plain")) as client:
        lost = await identify(client)
    faulty.logged(f"{lost[:8]}  $disconnect is lost")
    await _leave_and_be_heard(faulty)
    assert not [record for record in faulty.records() if disconnected(lost)(record)]
    assert counts(faulty) == [(1, 1)]


async def _leave_and_be_heard(gateway: Serving) -> None:
    """Whatever an earlier end was to cause has begun when this later one is recorded."""
    async with connect(gateway.websocket("plain")) as client:
        identifier = await identify(client)
    gateway.recorded(disconnected(identifier))


# --- events ---


def send(gateway: Serving, function: str = "local-Actor") -> tuple[str, str]:
    """Return the mark of an event that was sent, and its request id."""
    mark = uuid.uuid4().hex
    payload = json.dumps({"mark": mark})
    answer = gateway.lambda_client().invoke(FunctionName=function, InvocationType="Event", Payload=payload)
    return mark, answer["ResponseMetadata"]["RequestId"]


def test_event_is_delivered_twice_with_one_request_id(faulty: Serving) -> None:
    put(faulty, events=[{"do": "repeat", "function": "Actor", "nth": 1}])
    mark, request_id = send(faulty)
    records = faulty.recorded(marked(mark), count=2)
    assert [record["request_id"] for record in records] == [request_id] * 2
    other, _ = send(faulty)
    faulty.recorded(marked(other))
    assert counts(faulty) == [(1, 1)]


def test_second_delivery_may_come_later(faulty: Serving) -> None:
    put(faulty, events=[{"do": "repeat", "nth": 1, "seconds": _AGES_S}])
    mark, _ = send(faulty)
    faulty.recorded(marked(mark))
    for _ in range(3):
        faulty.recorded(marked(send(faulty)[0]))
    assert len([record for record in faulty.records() if marked(mark)(record)]) == 1
    clear(faulty)
    faulty.recorded(marked(mark), count=2)


def test_event_is_delivered_late(faulty: Serving) -> None:
    put(faulty, events=[{"do": "delay", "seconds": 0.6}])
    began = time.monotonic()
    mark, request_id = send(faulty)
    records = faulty.recorded(marked(mark))
    assert time.monotonic() - began >= 0.6
    assert [record["request_id"] for record in records] == [request_id]


def test_function_with_a_name_of_its_own_is_told_by_its_logical_id(faulty: Serving) -> None:
    put(faulty, events=[{"do": "repeat", "function": "Named"}])
    mark, _ = send(faulty, "local-called")
    faulty.recorded(marked(mark), count=2)
    faulty.recorded(marked(send(faulty)[0]))
    assert counts(faulty) == [(1, 1)]


def test_event_that_is_too_late_goes_to_the_destination(faulty: Serving) -> None:
    put(faulty, events=[{"do": "delay", "function": "Paused", "seconds": 1.2}])
    mark, _ = send(faulty, "local-Paused")
    records = faulty.recorded(lambda r: bool(r["event"].get("requestPayload", {}).get("mark") == mark))
    assert records[0]["event"]["requestContext"]["condition"] == "EventAgeExceeded"


# --- workers ---


@pytest.mark.parametrize(("moment", "stored"), [("before", [True, False, False]), ("after", [True, True, False])])
def test_worker_is_killed_at_its_nth_call(faulty: Serving, moment: str, stored: list[bool]) -> None:
    put(
        faulty,
        workers=[{"do": "kill_at_call", "function": "Actor", "operation": "PutItem", "nth": 2, "moment": moment}],
    )
    names = new_names(3)
    error = faulty.invoke("local-Actor", {"do": {"calls": [storing(name) for name in names]}})
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("signal: killed")
    assert keys(faulty, *names) == stored
    assert counts(faulty) == [(1, 1)]


async def test_worker_is_killed_after_its_nth_post_has_arrived(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "kill_at_call", "operation": "PostToConnection", "nth": 2, "moment": "after"}])
    async with connect(faulty.websocket("plain")) as client:
        identifier = await identify(client)
        error = await asyncio.to_thread(faulty.invoke, "local-Actor", posting(identifier, "a", "b", "c"))
        assert error["errorMessage"].endswith("signal: killed")
        post(faulty, identifier, "end")
        assert await arriving(client, 3) == ["a", "b", "end"]
    assert counts(faulty) == [(1, 1)]


def posting(identifier: str, *texts: str) -> Any:
    arguments = [{"ConnectionId": identifier, "Data": text} for text in texts]
    return {"do": {"calls": [["apigatewaymanagementapi", "post_to_connection", each] for each in arguments]}}


def test_worker_is_killed_before_it_invokes_another(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "kill_at_call", "operation": "Invoke", "moment": "before"}])
    mark = uuid.uuid4().hex
    asked = {"FunctionName": "local-Witness", "InvocationType": "Event", "Payload": json.dumps({"mark": mark})}
    error = faulty.invoke("local-Actor", {"do": {"calls": [["lambda", "invoke", asked]]}})
    assert error["errorMessage"].endswith("signal: killed")
    faulty.recorded(marked(send(faulty, "local-Witness")[0]))
    assert not [record for record in faulty.records() if marked(mark)(record)]


@pytest.mark.parametrize(("moment", "stored"), [("before", [True, False]), ("after", [True, True])])
def test_worker_is_frozen_at_its_nth_call_and_goes_on(faulty: Serving, moment: str, stored: list[bool]) -> None:
    put(
        faulty,
        workers=[{"do": "pause_at_call", "operation": "PutItem", "nth": 2, "moment": moment, "seconds": _AGES_S}],
    )
    names = new_names(2)
    worker = psutil.Process(faulty.describe()["pid"])
    with concurrent.futures.ThreadPoolExecutor() as threads:
        call = threads.submit(faulty.invoke, "local-Actor", {"do": {"calls": [storing(name) for name in names]}})
        eventually(lambda: worker.status() == psutil.STATUS_STOPPED)
        assert keys(faulty, *names) == stored
        assert counts(faulty) == [(1, 1)]
        clear(faulty)
        assert len(call.result()) == 2
    eventually(lambda: keys(faulty, *names) == [True, True])


def test_worker_stands_still_that_long(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "pause_at_call", "nth": 1, "moment": "before", "seconds": 0.3}])
    (answer,) = answers_to(faulty, storing("still"))
    assert answer["s"] >= 0.3


def test_worker_that_is_frozen_beyond_its_deadline_is_killed(faulty: Serving) -> None:
    put(
        faulty,
        workers=[
            {"do": "pause_at_call", "moment": "after", "seconds": _AGES_S},
            {"do": "shorten", "function": "Actor", "seconds": 1},
        ],
    )
    error = faulty.invoke("local-Actor", {"do": {"calls": [storing("frozen")]}})
    assert error["errorMessage"].endswith("Task timed out after 1.00 seconds")


def test_deadline_of_an_invocation_is_shortened(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "shorten", "function": "Actor", "nth": [1, 3], "seconds": [0.4, 0.5]}])
    began = time.monotonic()
    error = faulty.invoke("local-Actor", {"do": {"sleep": 9}})
    assert time.monotonic() - began >= 0.4
    assert error["errorType"] == "Sandbox.Timedout"
    assert faulty.describe()["remaining_ms"] > 500
    assert faulty.describe()["remaining_ms"] <= 500
    assert counts(faulty) == [(2, 2)]


def test_deadline_is_never_later_than_the_functions_own(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "shorten", "seconds": 5}])
    assert faulty.describe("local-Brief")["remaining_ms"] <= 1000


def test_only_calls_of_the_function_are_counted(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "kill_at_call", "function": "Actor", "nth": 1, "moment": "before"}])
    (name,) = new_names(1)
    answers = faulty.invoke("local-Witness", {"do": {"calls": [storing(name)]}})
    assert "error" not in answers[0]
    assert counts(faulty) == [(0, 0)]


def test_worker_is_killed_some_seconds_after_an_invocation_began(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "kill_after", "function": "Actor", "nth": 2, "seconds": 0.3}])
    assert faulty.invoke("local-Actor", {"do": {"return": "first"}}) == "first"
    began = time.monotonic()
    error = faulty.invoke("local-Actor", {"do": {"sleep": 9}})
    assert time.monotonic() - began >= 0.3
    assert error["errorMessage"].endswith("signal: killed")
    assert counts(faulty) == [(1, 1)]


def test_worker_that_is_done_before_is_not_killed(faulty: Serving) -> None:
    put(faulty, workers=[{"do": "kill_after", "function": "Witness", "seconds": 1.5, "times": 1}])
    first = faulty.describe("local-Witness")
    if counts(faulty) != [(1, 1)]:  # Else this machine took longer than that.
        assert faulty.invoke("local-Witness", {"do": {"sleep": 2, "describe": True}})["worker"] == first["worker"]
        assert counts(faulty) == [(1, 0)]


# --- calls ---


def answers_to(gateway: Serving, *calls: Any, function: str = "local-Actor") -> list[Any]:
    answers = gateway.invoke(function, {"do": {"calls": calls}})
    assert isinstance(answers, list), answers
    return answers


def impatiently(call: list[Any]) -> list[Any]:
    return [*call, 0.5]


def test_throttled_call_is_dynamodbs_error_and_takes_no_effect(faulty: Serving) -> None:
    put(faulty, calls=[{"do": "throttle", "operation": "PutItem", "nth": 1}])
    names = new_names(2)
    first, second = answers_to(faulty, *map(storing, names))
    assert first["error"] == "ProvisionedThroughputExceededException"
    assert json.loads(first["answer"])["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "error" not in second
    assert keys(faulty, *names) == [False, True]


def test_other_services_throttle_in_their_own_words(faulty: Serving) -> None:
    put(faulty, calls=[{"do": "throttle", "operation": "GetParameter"}])
    (answer,) = answers_to(faulty, ["ssm", "get_parameter", {"Name": "/conformance/table"}])
    assert answer["error"] == "ThrottlingException"


def test_conflict_cancels_a_transaction_and_says_why(faulty: Serving) -> None:
    put(faulty, calls=[{"do": "conflict", "nth": 1}])
    names = new_names(3)
    puts = [{"Put": {"TableName": _TABLE, "Item": {"pk": {"S": name}}}} for name in names[:2]]
    transaction = ["dynamodb", "transact_write_items", {"TransactItems": puts}]
    single, cancelled, done = answers_to(faulty, storing(names[2]), transaction, transaction)
    assert "error" not in single
    assert cancelled["error"] == "TransactionCanceledException"
    reasons = json.loads(cancelled["answer"])["CancellationReasons"]
    assert [reason["Code"] for reason in reasons] == ["TransactionConflict", "None"]
    assert "error" not in done


def test_silent_call_takes_no_effect(faulty: Serving) -> None:
    put(faulty, calls=[{"do": "silence", "nth": 1, "seconds": _AGES_S}])
    names = new_names(2)
    first, second = answers_to(faulty, impatiently(storing(names[0])), storing(names[1]))
    assert first["error"] == "ReadTimeoutError"
    assert "error" not in second
    assert keys(faulty, *names) == [False, True]


def test_silent_call_may_take_effect(faulty: Serving) -> None:
    put(faulty, calls=[{"do": "silence", "nth": 1, "takes_effect": True}])
    (name,) = new_names(1)
    (answer,) = answers_to(faulty, impatiently(storing(name)))
    assert answer["error"] == "ReadTimeoutError"
    assert keys(faulty, name) == [True]


def test_delayed_call_takes_that_long_and_effect(faulty: Serving) -> None:
    put(faulty, calls=[{"do": "delay", "operation": "PutItem", "seconds": 0.2}])
    (name,) = new_names(1)
    (answer,) = answers_to(faulty, storing(name))
    assert answer["s"] >= 0.2
    assert keys(faulty, name) == [True]


def test_calls_can_be_told_by_what_they_contain(faulty: Serving) -> None:
    names = new_names(2)
    put(faulty, calls=[{"do": "throttle", "contains": names[1]}])
    assert ["error" in answer for answer in answers_to(faulty, *map(storing, names))] == [False, True]


def test_everything_else_goes_through_unchanged(faulty: Serving) -> None:
    where = {"Bucket": "local-uploads", "Key": "a folder/ä+b?.txt"}
    written, read, described, secret, listed = answers_to(
        faulty,
        ["s3", "put_object", {**where, "Body": "grüße " * 20_000, "ContentType": "text/plain"}],
        ["s3", "get_object", where],
        ["s3", "head_object", where],
        ["secretsmanager", "get_secret_value", {"SecretId": faulty.describe()["environment"]["SECRET"]}],
        ["sqs", "list_queues", {}],
    )
    other = ["s3", "put_object", {**where, "Key": "other"}]
    _, found = answers_to(faulty, other, ["s3", "list_objects_v2", {"Bucket": where["Bucket"], "Prefix": "a folder/"}])
    assert [entry["Key"] for entry in json.loads(found["answer"])["Contents"]] == [where["Key"]]
    assert "error" not in written
    assert json.loads(read["answer"])["Body"] == "grüße " * 20_000
    assert json.loads(described["answer"])["ContentLength"] == len(("grüße " * 20_000).encode())
    assert json.loads(secret["answer"])["SecretString"] == "sesame"
    assert "error" not in listed
    missing = answers_to(faulty, ["s3", "head_object", {**where, "Key": "none"}])
    assert missing[0]["error"] == "404"


# --- the plan at run time ---


async def test_report_is_of_the_running_plan_and_choices_are_logged(faulty: Serving) -> None:
    put(faulty, 41, posts=[{"do": "drop", "nth": 2}, {"do": "repeat", "contains": "no such"}])
    async with connect(faulty.websocket("plain")) as client:
        post(faulty, await identify(client), "a", "secret")
    assert report(faulty) == {
        "seed": 41,
        "faults": [
            {"place": "posts[0]", "do": "drop", "chosen": 1, "applied": 1},
            {"place": "posts[1]", "do": "repeat", "chosen": 0, "applied": 0},
        ],
    }
    assert faulty.logged("fault    posts[0] drop: post 2 of connection 1")
    assert not [line for line in faulty.log if "secret" in line]


async def test_cleared_plan_does_nothing_more_and_lets_go_of_what_it_held(faulty: Serving) -> None:
    put(faulty, posts=[{"do": "delay", "seconds": _AGES_S}], sockets=[{"do": "close", "seconds": _AGES_S}])
    async with connect(faulty.websocket("plain")) as client:
        identifier = await identify(client)
        with concurrent.futures.ThreadPoolExecutor() as threads:
            held = threads.submit(post, faulty, identifier, "a")
            eventually(lambda: counts(faulty)[0] == (1, 1))
            clear(faulty)
            assert held.result() == [200]
        assert counts(faulty) == []
        assert post(faulty, identifier, "b") == [200]
        assert await arriving(client, 2) == ["a", "b"]


def test_plan_with_a_mistake_changes_nothing(faulty: Serving) -> None:
    put(faulty, 5)
    answer = ask(faulty, "POST", json={"posts": [{"do": "delay"}]})
    assert (answer.status_code, answer.json()) == (400, {"message": "posts[0].seconds: is missing"})
    assert report(faulty)["seed"] == 5


def test_plan_may_be_yaml_but_nothing_that_a_page_may_send(faulty: Serving) -> None:
    of_yaml, of_a_page = ({"Content-Type": kind} for kind in ("application/yaml", "text/plain"))
    assert ask(faulty, "POST", content="seed: 6", headers=of_yaml).status_code == 200
    assert ask(faulty, "POST", content="seed: 7", headers=of_a_page).status_code == 415
    assert report(faulty)["seed"] == 6


def test_first_plan_comes_from_a_file(first_report: Any) -> None:
    assert first_report == {"seed": 9, "faults": [{"place": "posts[0]", "do": "drop", "chosen": 0, "applied": 0}]}


def test_mistake_in_the_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--template", str(CONFORMANCE / "template.yaml"), "--faults", '{"posts": [{"do": "nothing"}]}'])
    assert ended.value.code == 2
    assert "posts[0].do: wants one of drop" in capsys.readouterr().err


def test_help_shows_the_grammar(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "- {do: reorder" in capsys.readouterr().out


# --- the end: the last test, for the others have the same gateway ---


def test_gateway_ends_in_order_whatever_its_plan_holds(stage: contextlib.ExitStack, faulty: Serving) -> None:
    put(faulty, calls=[{"do": "silence", "seconds": _AGES_S}])
    before = len(faulty.log)
    with concurrent.futures.ThreadPoolExecutor() as threads:
        threads.submit(answers_to, faulty, storing("held"))
        eventually(lambda: counts(faulty) == [(1, 1)])
        stage.close()
    assert faulty.process.returncode == 0
    assert not [line for line in faulty.log[before:] if "Traceback" in line or "Cancel" in line]
