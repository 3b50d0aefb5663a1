"""Running functions: processes, what they get, and when they are replaced."""

import concurrent.futures
import os
import signal
import time
from pathlib import Path

from tests.builders.serving import Serving, eventually


def test_environment_handles_one_event_at_a_time_and_several_run_side_by_side(gateway: Serving) -> None:
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        script = {"do": {"sleep": 1, "describe": True}}
        answers = [threads.submit(gateway.invoke, "local-Actor", script) for _ in range(3)]
    assert len({answer.result()["worker"] for answer in answers}) == 3


def test_environment_is_kept_warm(gateway: Serving) -> None:
    first, second = gateway.describe("local-Witness"), gateway.describe("local-Witness")
    assert first["worker"] == second["worker"]
    assert second["handled"] == first["handled"] + 1


def test_more_events_than_this_machine_has_environments_wait_their_turn(impatient_gateway: Serving) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(impatient_gateway.describe, "local-Actor") for _ in range(4)]
        workers = {call.result()["worker"] for call in calls}
    assert 1 <= len(workers) <= 2


def test_environment_has_lambdas_variables_and_the_templates(gateway: Serving) -> None:
    described = gateway.describe()
    variables = described["environment"]
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "local-Actor"
    assert variables["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert variables["AWS_REGION"] == variables["AWS_DEFAULT_REGION"] == "us-east-1"
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.13"
    assert variables["AWS_ACCESS_KEY_ID"]
    assert variables["_HANDLER"] == "app.handler"
    assert variables["LAMBDA_TASK_ROOT"] == described["directory"] == str(gateway.folder / "functions/actor")
    assert variables["TABLE"] == "local-things"
    assert variables["FLAVOUR"] == "vanilla"


def test_environment_has_nothing_of_the_gateways_own(gateway: Serving) -> None:
    variables = gateway.describe()["environment"]
    assert "NOT_FOR_FUNCTIONS" not in variables
    assert "PYTHONDONTWRITEBYTECODE" not in variables
    assert variables["PATH"] == os.environ["PATH"]


def test_apis_of_the_stack_are_at_the_gateways_address_and_others_are_left_alone(gateway: Serving) -> None:
    variables = gateway.describe()["environment"]
    assert variables["PLAIN_ENDPOINT"] == gateway.http("plain")
    assert variables["PLAIN_ADDRESS"] == gateway.websocket("plain")
    assert variables["OTHER_ENDPOINT"] == "https://example.execute-api.us-east-1.amazonaws.com"
    assert variables["AWS_ENDPOINT_URL_LAMBDA"] == gateway.http("").rstrip("/")


def test_context_counts_down_to_the_functions_time_out(gateway: Serving) -> None:
    assert 9_000 < gateway.describe()["remaining_ms"] <= 10_000


def test_published_version_runs_with_its_own_variables_and_snap_start(gateway: Serving) -> None:
    variables = gateway.describe("local-Published:live")["environment"]
    assert variables["AWS_LAMBDA_FUNCTION_VERSION"] == "1"
    assert variables["AWS_LAMBDA_INITIALIZATION_TYPE"] == "snap-start"
    assert gateway.describe("local-Published")["environment"]["AWS_LAMBDA_INITIALIZATION_TYPE"] == "on-demand"


def test_snap_start_runs_its_hooks_before_the_first_event_and_only_for_a_version(gateway: Serving) -> None:
    assert gateway.describe("local-Published:live")["hooks"] == ["before snapshot", "after restore"]
    assert gateway.describe("local-Published")["hooks"] == []


def test_data_resources_of_the_template_and_its_nested_stacks_are_there(gateway: Serving) -> None:
    variables = gateway.describe()["environment"]
    table = gateway.services("dynamodb").describe_table(TableName=variables["TABLE"])["Table"]
    assert table["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}]
    ttl = gateway.services("dynamodb").describe_time_to_live(TableName=variables["TABLE"])
    assert ttl["TimeToLiveDescription"]["AttributeName"] == "ttl"
    secret = gateway.services("secretsmanager").get_secret_value(SecretId=variables["SECRET"])
    assert secret["SecretString"] == "sesame"
    setting = gateway.services("ssm").get_parameter(Name="/conformance/table")["Parameter"]
    assert setting["Value"] == "local-things"
    assert [bucket["Name"] for bucket in gateway.services("s3").list_buckets()["Buckets"]] == ["local-uploads"]


def test_worker_that_is_killed_while_idle_is_replaced_unnoticed(gateway: Serving) -> None:
    victim = gateway.describe("local-Witness")
    os.kill(victim["pid"], signal.SIGKILL)
    eventually(lambda: _is_gone(victim["pid"]))
    time.sleep(0.1)
    assert gateway.describe("local-Witness")["worker"] != victim["worker"]


def test_worker_that_is_killed_while_busy_is_an_exit_error(gateway: Serving) -> None:
    pid = gateway.describe("local-Single")["pid"]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        call = threads.submit(gateway.invoke, "local-Single", {"mark": "victim", "do": {"sleep": 5}})
        gateway.recorded(lambda record: record["event"].get("mark") == "victim")
        os.kill(pid, signal.SIGKILL)
        error = call.result()
    assert error["errorType"] == "Runtime.ExitError"
    assert error["errorMessage"].endswith("signal: killed")


def test_changed_code_is_loaded_for_the_next_event(gateway: Serving) -> None:
    assert gateway.invoke("local-Editable", {}) == "before"
    _edit(gateway.folder / "functions/editable/app.py", '"before"', '"after"')
    eventually(lambda: gateway.invoke("local-Editable", {}) == "after")


def test_changed_layer_replaces_idle_environments_at_once_and_busy_ones_after_their_event(gateway: Serving) -> None:
    idle = gateway.describe("local-Brief")["pid"]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        busy = threads.submit(gateway.invoke, "local-Witness", {"mark": "busy", "do": {"sleep": 2, "describe": True}})
        gateway.recorded(lambda record: record["event"].get("mark") == "busy")
        _edit(
            gateway.folder / "layers/shared/python/shared_by_layer.py", "uuid.uuid4().hex", '"new" + uuid.uuid4().hex'
        )
        eventually(lambda: _is_gone(idle))
        finished = busy.result()
    assert not finished["worker"].startswith("new")
    assert gateway.describe("local-Witness")["worker"].startswith("new")


def test_what_is_not_served_is_said(gateway: Serving) -> None:
    reason = "nothing runs by the clock or by events of others here"
    assert f"Not served: Clock (AWS::Events::Rule): {reason}" in gateway.printed


def _edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
