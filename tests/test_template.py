"""template.yaml and the code that reads its values: whatever the one takes, the other works with."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from chatrelay.settings import URL, BridgeHub, Claude, Environment, Handshake, OpenAI, Push
from infra.local.intrinsics import Resolver, TemplateError
from infra.local.template import REGION, parameter_values, read
from tests.conftest import REPOSITORY

PATH = REPOSITORY / "template.yaml"
PARAMETERS: dict[str, dict[str, Any]] = yaml_parse(PATH.read_text(encoding="utf-8"))["Parameters"]
FREE = {"BridgeHubWorkingDirectory"}
"""What another machine, and not the relay, reads."""


def translated(given: Mapping[str, str]) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as shell:
        shell.setenv("AWS_DEFAULT_REGION", REGION)
        return read(PATH, given)


TRANSLATED = translated({})


class Named:
    """Resources that are called what they are asked for."""

    def ref(self, logical_id: str) -> str:
        return f"<{logical_id}>"

    def attribute(self, logical_id: str, name: str) -> str:
        return f"<{logical_id}.{name}>"


def deployed(given: Mapping[str, str]) -> Resolver:
    """What the template's values are, for these parameters. Raises ``TemplateError`` as CloudFormation refuses."""
    resolver = Resolver(TRANSLATED, parameter_values(TRANSLATED, given, "stack"), Named())
    resolver.obey(TRANSLATED["Rules"])
    return resolver


def environment(resolver: Resolver, function: str) -> Environment:
    return Environment(resolver.resolve(TRANSLATED["Resources"][function]["Properties"]["Environment"]["Variables"]))


def values(declaration: dict[str, Any]) -> st.SearchStrategy[str]:
    """All that CloudFormation takes for a parameter."""
    if "AllowedValues" in declaration:
        return st.sampled_from(declaration["AllowedValues"])
    return st.from_regex(
        declaration.get("AllowedPattern", "[^\n]*"), fullmatch=True, alphabet=st.characters(codec="ascii")
    )


NEEDS = {
    "BridgeHubUrl": {"CodexBackend": "bridgehub"},
    "OpenAIBaseUrl": {"CodexBackend": "openai"},
    "CodexBackend": {"BridgeHubUrl": "https://bridge.example"},
    "ApnsSecret": {"ApnsTeamId": "T", "ApnsKeyId": "K", "ApnsBundleId": "B"},
    "DailyCost": {"AlarmTopic": "arn:aws:sns:us-east-1:123456789012:alarms"},
}
"""What a parameter means nothing without, or is refused without."""


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(PARAMETERS)).flatmap(lambda name: st.tuples(st.just(name), values(PARAMETERS[name]))))
def test_every_function_works_with_whatever_the_template_takes(chosen: tuple[str, str]) -> None:
    name, value = chosen
    if name in ("BridgeHubUrl", "OpenAIBaseUrl") and not value:
        return
    given = {parameter: str(each["Default"]) for parameter, each in PARAMETERS.items()}
    given |= {**NEEDS.get(name, {}), name: value}
    resolver = deployed(given)
    message, notify = environment(resolver, "MessageFunction"), environment(resolver, "NotifyFunction")

    claude, openai, push = Claude.read(message), OpenAI.read(message), Push.read(notify)
    handshake = Handshake.read(environment(resolver, "AuthorizerFunction"))

    assert str(claude.max_tokens) == given["ClaudeMaxTokens"]
    assert (claude.model, claude.prompt) == (given["ClaudeModel"], given["ClaudePrompt"])
    assert (openai.secret, str(openai.max_tokens)) == (given["OpenAISecret"], given["CodexMaxTokens"])
    assert httpx.URL(openai.base_url).host
    if given["CodexBackend"] == "bridgehub":
        assert httpx.URL(BridgeHub.read(message).base_url).host
    assert environment(resolver, "ApiFunction").text("CODEX_BACKEND") == given["CodexBackend"]
    assert (push.apns_bundle, push.fcm_secret) == (given["ApnsBundleId"], given["FcmSecret"])
    assert handshake.allowed_origins == {origin for origin in given["AllowedOrigins"].split(",") if origin}


def test_a_parameter_says_what_it_takes() -> None:
    assert {
        name for name, each in PARAMETERS.items() if "AllowedValues" not in each and "AllowedPattern" not in each
    } == FREE
    for name, each in PARAMETERS.items():
        assert each["Type"] == "String", name
        assert "AllowedPattern" not in each or each["ConstraintDescription"].startswith("must be "), name


def test_an_address_is_the_same_to_both() -> None:
    for name in ("BridgeHubUrl", "OpenAIBaseUrl"):
        assert PARAMETERS[name]["AllowedPattern"] == f"({URL.pattern})?"


NUMBERS = ("ClaudeMaxTokens", "ClaudeHistoryTokens", "ClaudeReadTimeout", "CodexMaxTokens", "CodexReadTimeout")
ADDRESSES = ("http://[::1", "bridge.example", "https://a:b@c", "https://a:99999", "https://a?b", "https://a b")
ORIGINS = (
    "https://a.example, https://b.example",
    " https://a.example",
    "https://a.example,",
    "https://a.example/",
    "a",
)
NAMES = ("", "a b", "name\n", "arn:aws:secretsmanager:us-east-1:123456789012:secret:a-aaaaaa")
REFUSED = {
    NUMBERS: ("1.5", "1e3", "-1", "0", "", " 60", "60\n", "²"),
    ("ClaudeWebSearches", "MessageConcurrency"): ("1.5", "1e1", "-1", "many"),
    ("BridgeHubUrl", "OpenAIBaseUrl"): ADDRESSES,
    ("AllowedOrigins",): ORIGINS,
    ("ClaudeSecret", "OpenAISecret", "BridgeHubSecret"): NAMES,
    ("ClaudeModel", "CodexModel"): ("", "a b", "a\n"),
    ("ClaudePrompt", "CodexPrompt"): ("You are kind.", "prompt", "/a b", "/"),
    ("AlarmTopic",): ("alarms",),
    ("SecretsKey",): ("alias/mine",),
    ("DailyCost",): ("$5",),
    ("Edge",): ("yes",),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for names, values in REFUSED.items() for name in names for value in values]
)
def test_what_the_code_would_not_take_is_refused_at_deployment(name: str, value: str) -> None:
    with pytest.raises(TemplateError, match=f"Parameter {name} must "):
        deployed({name: value})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"CodexBackend": "bridgehub"}, "CodexBackend=bridgehub needs BridgeHubUrl."),
        ({"CodexBackend": "openai", "OpenAIBaseUrl": ""}, "CodexBackend=openai needs OpenAIBaseUrl."),
        ({"ApnsSecret": "apple", "ApnsTeamId": "T", "ApnsKeyId": "K"}, "ApnsSecret needs ApnsBundleId."),
        ({"DailyCost": "5"}, "DailyCost needs AlarmTopic."),
    ],
)
def test_what_needs_another_says_so(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(sentence)):
        deployed(given)


@pytest.mark.parametrize("first_frame_auth", ["true", "false"])
@pytest.mark.parametrize("invocation", ["gateway", "function"])
def test_no_socket_without_a_key_reaches_the_large_function(first_frame_auth: str, invocation: str) -> None:
    resolver = deployed({"FirstFrameAuth": first_frame_auth, "MessageInvocation": invocation})
    routes = {
        resource["Properties"]["RouteKey"]: resolver.resolve(resource["Properties"]["Target"])
        for resource in TRANSLATED["Resources"].values()
        if resource["Type"] == "AWS::ApiGatewayV2::Route"
    }

    direct = first_frame_auth == "false" and invocation == "gateway"
    chosen = "MessageIntegration" if direct else "ControlIntegration"
    assert {routes["send"], routes["$default"]} == {f"integrations/<{chosen}>"}
    assert resolver.condition("GatewayInvokes") is direct


def test_the_pages_that_may_connect_are_one_list() -> None:
    """The authorizer, the HTTP API and the bucket read the same text in the same way."""
    both = ["https://a.example", "https://b.example"]
    chosen = {"AllowedOrigins": ",".join(both)}
    resolver = deployed(chosen)
    http = next(each for each in translated(chosen)["Resources"].values() if "x-amazon-apigateway-cors" in str(each))
    storage = read(REPOSITORY / "infra" / "storage.yaml", {})
    given = resolver.resolve(TRANSLATED["Resources"]["Storage"]["Properties"]["Parameters"])
    bucket = Resolver(storage, parameter_values(storage, given, "nested"), Named()).resolve(
        storage["Resources"]["Files"]
    )

    assert Handshake.read(environment(resolver, "AuthorizerFunction")).allowed_origins == set(both)
    assert resolver.resolve(http["Properties"]["Body"]["x-amazon-apigateway-cors"])["allowOrigins"] == both
    assert bucket["Properties"]["CorsConfiguration"]["CorsRules"][0]["AllowedOrigins"] == both


def test_two_stacks_in_one_region_share_no_name() -> None:
    """Neither functions nor layers nor metrics nor anything else that a template names."""
    names = (
        "FunctionName",
        "LayerName",
        "QueueName",
        "TopicName",
        "TableName",
        "BucketName",
        "RoleName",
        "LogGroupName",
    )
    one, other = (Resolver(TRANSLATED, parameter_values(TRANSLATED, {}, stack), Named()) for stack in ("one", "other"))
    named = 0
    for resource in TRANSLATED["Resources"].values():
        for name in names:
            if (
                isinstance(resource.get("Properties", {}).get(name), (str, dict))
                and resource["Type"] != "AWS::Lambda::Permission"
            ):
                first, second = (resolver.resolve(resource["Properties"][name]) for resolver in (one, other))
                assert first != second or first.startswith("<"), first
                named += 1
    assert named >= 4
    service = "POWERTOOLS_SERVICE_NAME"
    assert [environment(each, "MessageFunction").text(service) for each in (one, other)] == ["one", "other"]
