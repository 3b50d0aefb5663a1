"""Lambda: the Invoke API through boto3, errors in Lambda's words, events with retries, ages and destinations."""

import concurrent.futures
import json
import time
import uuid
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.builders.serving import Record, Serving, eventually

_ARN = "arn:aws:lambda:us-east-1:123456789012:function:"


def marked(mark: str) -> Any:
    def wanted(record: Record) -> bool:
        return bool(record["event"].get("mark") == mark)

    return wanted


def destined(mark: str) -> Any:
    """Picks the destination records of an event."""

    def wanted(record: Record) -> bool:
        return bool(record["event"].get("requestPayload", {}).get("mark") == mark)

    return wanted


def send(gateway: Serving, function: str, script: Any, **more: Any) -> tuple[str, str]:
    """Invoke asynchronously. Return the event's mark and its request id."""
    mark = uuid.uuid4().hex
    answer = gateway.lambda_client().invoke(
        FunctionName=function,
        InvocationType="Event",
        Payload=json.dumps({"mark": mark, "do": script}),
        **more,
    )
    assert answer["StatusCode"] == 202
    return mark, answer["ResponseMetadata"]["RequestId"]


# --- at once ---


@pytest.mark.parametrize("name", ["local-Actor", f"{_ARN}local-Actor", "123456789012:function:local-Actor"])
def test_function_is_found_by_name_and_by_arn(gateway: Serving, name: str) -> None:
    assert gateway.invoke(name, {"do": {"return": [1, "two"]}}) == [1, "two"]


def test_function_with_a_name_of_its_own_has_no_other(gateway: Serving) -> None:
    described = gateway.describe("local-called")
    assert described["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == described["function"] == "local-called"
    assert described["arn"] == f"{_ARN}local-called"


def test_answer_says_which_version_ran(gateway: Serving) -> None:
    client = gateway.lambda_client()
    assert client.invoke(FunctionName="local-Actor")["ExecutedVersion"] == "$LATEST"
    assert client.invoke(FunctionName="local-Published", Qualifier="live")["ExecutedVersion"] == "1"
    assert client.invoke(FunctionName=f"{_ARN}local-Published:live")["ExecutedVersion"] == "1"


@pytest.mark.parametrize("name", ["nobody", "local-Actor:live", "local-Absent", "local-Named"])
def test_unknown_function_or_qualifier_is_404(gateway: Serving, name: str) -> None:
    with pytest.raises(ClientError) as error:
        gateway.lambda_client().invoke(FunctionName=name)
    assert error.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_payload_that_is_not_json_is_400(gateway: Serving) -> None:
    with pytest.raises(ClientError) as error:
        gateway.lambda_client().invoke(FunctionName="local-Actor", Payload=b"{")
    assert error.value.response["Error"]["Code"] == "InvalidRequestContentException"


def test_event_payload_over_1_mb_is_413(gateway: Serving) -> None:
    payload = json.dumps("x" * 1024 * 1024)
    with pytest.raises(ClientError) as error:
        gateway.lambda_client().invoke(FunctionName="local-Actor", InvocationType="Event", Payload=payload)
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_exception_is_a_function_error_with_type_message_and_stack(gateway: Serving) -> None:
    answer = gateway.lambda_client().invoke(FunctionName="local-Actor", Payload=json.dumps({"do": {"raise": "oh no"}}))
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    error = json.loads(answer["Payload"].read())
    assert (error["errorType"], error["errorMessage"]) == ("Told", "oh no")
    assert "raise Told" in "".join(error["stackTrace"])


def test_invocation_without_a_signature_is_refused(gateway: Serving) -> None:
    """A web page can post to this machine, but not with a header of its own choice."""
    url = f"http://{gateway.address}/2015-03-31/functions/local-Actor/invocations"
    assert httpx.post(url, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 403


def test_function_is_killed_at_its_time_out(gateway: Serving) -> None:
    began = time.monotonic()
    error = gateway.invoke("local-Brief", {"do": {"sleep": 30}})
    assert 0.9 <= time.monotonic() - began < 30
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Task timed out after 1.00 seconds")
    before = gateway.describe("local-Brief")["handled"]
    assert before == 1


def test_function_that_exits_is_an_exit_error_and_the_next_event_gets_a_new_process(gateway: Serving) -> None:
    error = gateway.invoke("local-Actor", {"do": {"exit": 3}})
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert gateway.invoke("local-Actor", {"do": {"return": "alive"}}) == "alive"


def test_function_that_cannot_be_imported_reports_that(gateway: Serving) -> None:
    error = gateway.invoke("local-Broken", {})
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "no_such_module" in error["errorMessage"]


def test_reserved_concurrency_throttles_with_429(gateway: Serving) -> None:
    with concurrent.futures.ThreadPoolExecutor() as threads:
        first = threads.submit(gateway.invoke, "local-Single", {"mark": "first", "do": {"sleep": 3}})
        gateway.recorded(marked("first"))
        with pytest.raises(ClientError) as error:
            gateway.invoke("local-Single", {})
        first.result()
    response: Any = error.value.response
    assert response["Error"]["Code"] == "TooManyRequestsException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert gateway.invoke("local-Single", {"do": {"return": "free"}}) == "free"


# --- as events ---


def test_event_is_accepted_at_once_and_handled_later(gateway: Serving) -> None:
    began = time.monotonic()
    mark, request_id = send(gateway, "local-Actor", {"sleep": 4})
    assert time.monotonic() - began < 4
    record = gateway.recorded(marked(mark))[0]
    assert record["request_id"] == request_id


def test_failed_event_is_retried_with_the_same_id_as_often_as_configured(gateway: Serving) -> None:
    mark, request_id = send(gateway, "local-Retried", {"raise": "never"})
    records = gateway.recorded(marked(mark), count=3)
    _queued_failure(gateway, mark)
    assert [record["request_id"] for record in gateway.records() if marked(mark)(record)] == [request_id] * 3
    assert len(records) == 3


def test_destination_queue_gets_request_error_and_count(gateway: Serving) -> None:
    mark, request_id = send(gateway, "local-Retried", {"raise": "never"})
    failure = _queued_failure(gateway, mark)
    assert failure["version"] == "1.0"
    assert failure["timestamp"].endswith("Z")
    assert failure["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"{_ARN}local-Retried:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }
    assert failure["requestPayload"]["mark"] == mark
    assert failure["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert failure["responsePayload"]["errorMessage"] == "never"
    assert failure["responsePayload"]["stackTrace"]


def test_without_retries_the_destination_function_is_told_after_one_attempt(gateway: Serving) -> None:
    mark, _ = send(gateway, "local-Published", {"raise": "once"}, Qualifier="live")
    record = gateway.recorded(destined(mark))[0]
    assert record["function"] == "local-Witness"
    context = record["event"]["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 1)
    assert context["functionArn"] == f"{_ARN}local-Published:live"
    assert len([r for r in gateway.records() if marked(mark)(r)]) == 1


def test_settings_of_a_function_with_a_name_of_its_own_hold(gateway: Serving) -> None:
    mark, _ = send(gateway, "local-called", {"raise": "once"})
    context = gateway.recorded(destined(mark))[0]["event"]["requestContext"]
    assert (context["functionArn"], context["approximateInvokeCount"]) == (f"{_ARN}local-called:$LATEST", 1)


def test_settings_of_an_alias_do_not_hold_for_the_function_without_it(gateway: Serving) -> None:
    mark, _ = send(gateway, "local-Published", {"raise": "thrice"})
    assert gateway.recorded(marked(mark), count=3)
    assert not [r for r in gateway.records() if destined(mark)(r)]


def test_crash_and_time_out_are_failures_of_an_event_too(gateway: Serving) -> None:
    mark, _ = send(gateway, "local-Published", {"exit": 1}, Qualifier="live")
    payload = gateway.recorded(destined(mark))[0]["event"]["responsePayload"]
    assert payload["errorType"] == "Runtime.ExitError"


def test_success_goes_to_its_own_destination(gateway: Serving) -> None:
    mark, _ = send(gateway, "local-Published", {"return": "fine"}, Qualifier="live")
    event = gateway.recorded(destined(mark))[0]["event"]
    assert event["requestContext"]["condition"] == "Success"
    assert event["responsePayload"] == "fine"


def test_throttled_event_waits_in_the_queue(gateway: Serving) -> None:
    marks = [send(gateway, "local-Single", {"sleep": 0.3})[0] for _ in range(3)]
    records = [gateway.recorded(marked(mark))[0] for mark in marks]
    assert len({record["worker"] for record in records}) == 1


def test_event_that_grows_too_old_goes_to_the_destination(gateway: Serving) -> None:
    mark, _ = send(gateway, "local-Paused", {})
    event = gateway.recorded(destined(mark))[0]["event"]
    assert event["requestContext"]["condition"] == "EventAgeExceeded"
    assert event["requestContext"]["approximateInvokeCount"] == 0
    assert "responsePayload" not in event


def _queued_failure(gateway: Serving, mark: str) -> Any:
    client = gateway.services("sqs")
    url = gateway.describe()["environment"]["QUEUE"]

    def look() -> Any:
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0).get("Messages", [])
        records = [json.loads(message["Body"]) for message in messages]
        return next((record for record in records if record["requestPayload"]["mark"] == mark), None)

    return eventually(look)
