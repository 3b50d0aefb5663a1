"""infra/alarms.yaml and what is there: whatever an alarm looks at is counted, and whatever it says is so."""

import json
import re
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from chatrelay.domain.errors import Interrupted, Reason
from chatrelay.relay.telemetry import Telemetry
from tests.builders.deployments import REPOSITORY

ALARMS: dict[str, Any] = yaml_parse((REPOSITORY / "infra" / "alarms.yaml").read_text(encoding="utf-8"))
TEMPLATE: dict[str, Any] = yaml_parse((REPOSITORY / "template.yaml").read_text(encoding="utf-8"))
EACH = {
    name: resource["Properties"]
    for name, resource in ALARMS["Resources"].items()
    if resource["Type"] == "AWS::CloudWatch::Alarm"
}
GIVEN: dict[str, Any] = TEMPLATE["Resources"]["AlarmStack"]["Properties"]["Parameters"]
FUNCTIONS = {
    logical_id.removesuffix("Function"): logical_id
    for logical_id, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
CODE = "".join(
    path.read_text(encoding="utf-8")
    for folder in ("functions", "layers/relay")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
)
LAMBDA = ("Errors", "Throttles", "Invocations", "AsyncEventsDropped", "DestinationDeliveryFailures")
AWS: dict[str, dict[str, set[str]]] = {
    "AWS/Lambda": {name: {"FunctionName"} for name in (*LAMBDA, "RecursiveInvocationsDropped")},
    "AWS/ApiGateway": {"IntegrationError": {"ApiId", "Stage"}, "ExecutionError": {"ApiId", "Stage"}, "5xx": {"ApiId"}},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible": {"QueueName"}},
}
"""Metrics with the dimensions that they have. Source: each service's guide, under its CloudWatch metrics."""
NOBODY_MENDS = {Reason.DECLINED, Reason.TOO_LONG, Reason.TIME}
"""Reasons that are the message's own."""
TO_DO = re.compile(r"\b(ask|buy|correct|deploy|do what|look|put|report|search|send)\b", re.IGNORECASE)
NAME = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-zA-Z]+)+\b")
NAMES = {*TEMPLATE["Parameters"], *TEMPLATE["Outputs"], *EACH}
OF_OTHERS = {"BridgeHub", "ExitError", "WebSocket"}


def dimensions(alarm: dict[str, Any]) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in alarm["Dimensions"]}


def counted(text: str) -> tuple[str, dict[str, set[str]]]:
    """The namespace and the metrics in what was printed, with their dimensions. CloudWatch matches them as a whole."""
    lines = [json.loads(line)["_aws"]["CloudWatchMetrics"][0] for line in text.splitlines() if '"_aws"' in line]
    (namespace,) = {line["Namespace"] for line in lines}
    return namespace, {line["Metrics"][0]["Name"]: set(line["Dimensions"][0]) for line in lines}


@pytest.mark.parametrize("name", EACH)
def test_what_an_alarm_looks_at_is_counted(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alarm = EACH[name]
    if alarm["Namespace"] in AWS:
        assert dimensions(alarm).keys() == AWS[alarm["Namespace"]][alarm["MetricName"]]
        return
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", variables["POWERTOOLS_METRICS_NAMESPACE"])
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "a-stack")
    telemetry = Telemetry(Logger())
    telemetry.reply_failed("r", Interrupted("It broke off."))
    telemetry.internal_error()

    namespace, metrics = counted(capsys.readouterr().out)
    metrics["PushesMisconfigured"] = {"service"}  # of `notify`
    assert f'"{alarm["MetricName"]}"' in CODE
    assert (alarm["Namespace"], set(dimensions(alarm))) == (namespace, metrics[alarm["MetricName"]])


def test_every_reason_that_somebody_can_mend_has_an_alarm() -> None:
    failed = [alarm for alarm in EACH.values() if alarm["MetricName"] == "RepliesFailed"]
    reasons = [dimensions(alarm)["reason"] for alarm in failed]

    assert sorted(reasons) == sorted(set(Reason) - NOBODY_MENDS)
    assert "InternalErrors" in [alarm["MetricName"] for alarm in EACH.values()]


def test_the_stack_tells_its_alarms_what_is_there() -> None:
    assert GIVEN.keys() == ALARMS["Parameters"].keys()
    assert GIVEN["Service"] == TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
    for function, logical_id in FUNCTIONS.items():
        assert GIVEN[function] == {"Ref": logical_id}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_has_its_alarms(function: str) -> None:
    watched = {alarm["MetricName"]: alarm for alarm in EACH.values() if {"Ref": function} in dimensions(alarm).values()}

    assert watched.keys() >= {"Errors", "Throttles"}
    for metric in ("Errors", "Throttles"):
        assert watched[metric]["AlarmDescription"].startswith(f"The {function.lower()} function ")
    # One function has a share of its own, which all others are without.
    mends, harms = ("raise", "lower") if function == "Message" else ("lower", "raise")
    assert f"{mends} MessageConcurrency" in watched["Throttles"]["AlarmDescription"]
    assert f"{harms} MessageConcurrency" not in watched["Throttles"]["AlarmDescription"]


@pytest.mark.parametrize("name", EACH)
def test_an_alarm_is_sent_and_says_what_to_do(name: str) -> None:
    alarm = EACH[name]
    said = alarm["AlarmDescription"]

    assert alarm["AlarmActions"] == [{"Ref": "Topic"}]
    assert alarm["TreatMissingData"] == "notBreaching"
    assert TO_DO.search(said.partition(".")[2] + said.partition(":")[2])
    assert len(said) <= 1024
    assert set(NAME.findall(said)) <= NAMES | OF_OTHERS


QUOTED = {
    "infra/alarms.yaml": re.compile(r'"([a-z][a-z ]+)"'),
    "docs/deploy.md": re.compile(r"""[`']"([a-z ]+)"[`']"""),
    "infra/smoke.py": re.compile(r"""'\\"([a-z ]+)\\"'"""),
}


@pytest.mark.parametrize("place", QUOTED)
def test_a_line_of_the_log_is_quoted_as_it_is(place: str) -> None:
    """A filter of CloudWatch's finds a phrase to the letter, or nothing."""
    written = " ".join((REPOSITORY / place).read_text(encoding="utf-8").split())
    phrases = set(QUOTED[place].findall(written))

    assert "reply failed" in phrases
    for phrase in phrases:
        assert re.search(rf"\.(info|warning|error|exception)\(\s*\"{phrase}\"", CODE), phrase
