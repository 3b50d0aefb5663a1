"""template.yaml and the code that reads its values: whatever the one takes, the other works with."""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from chatrelay.domain.limits import amount
from chatrelay.domain.prices import Prices
from chatrelay.settings import URL, BridgeHub, Claude, Environment, Handshake, OpenAI, Push
from chatrelay.wire.identity import origin_allowed
from emulator.account import REGION
from emulator.template.intrinsics import Resolver, TemplateError
from emulator.template.template import parameter_values, read
from tests.builders.deployments import REPOSITORY

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
    "ClaudeBackend": {"ClaudeModel": "us.anthropic.claude-sonnet-4-6"},
    "ApnsSecret": {"ApnsTeamId": "T", "ApnsKeyId": "K", "ApnsBundleId": "B"},
    "OidcIssuer": {"OidcAudience": "app=chat"},
    "DailyCost": {"AlarmTopic": "arn:aws:sns:us-east-1:123456789012:alarms"},
}
"""What a parameter means nothing without, or is refused without."""


@settings(max_examples=150)
@given(st.sampled_from(sorted(PARAMETERS)).flatmap(lambda name: st.tuples(st.just(name), values(PARAMETERS[name]))))
def test_every_function_works_with_whatever_the_template_takes(chosen: tuple[str, str]) -> None:
    name, value = chosen
    if name in ("BridgeHubUrl", "OpenAIBaseUrl") and not value:
        return
    given = {parameter: str(each["Default"]) for parameter, each in PARAMETERS.items()}
    given |= {**NEEDS.get(name, {}), name: value}
    resolver = deployed(given)
    message, notify = environment(resolver, "MessageFunction"), environment(resolver, "NotifyFunction")

    limits, entries = message.limits("LIMITS"), message.entries("OIDC_AUDIENCE")  # who is meant is not for a pattern
    assert limits.dollars_per_day == amount("dollars_per_day", given["DollarsPerDay"])
    assert [f"{issuer}={audience}" for issuer, audience in entries] == given["OidcAudience"].split()
    assert message.number("SESSION_MINUTES", least=0) == int(given["SessionMinutes"])
    Prices.read(message.text("MODEL_PRICES"))
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
ADDRESSES = (
    *("http://[::1", "bridge.example", "https://a:b@c", "https://a:99999", "https://a?b", "https://a b", "https://"),
    *("https://300.1.1.1", "https://1.2.3", "https://01.2.3.4", "https://256.0.0.1:443/v1"),
)
ORIGINS = (
    *(
        "a",
        "https://",
        "https://a.example/",
        "https://a.example,",
        ",https://a.example",
        "https://a.example,,https://b",
    ),
    *(" https://a.example", "https://a.example, https://b.example", "https://a.example,\thttps://b.example"),
    *("https://a.example\n", "https://a.example,\nhttps://b.example", "https://a.exa mple", "https://a.example\u00a0"),
    *("*", "https://*", "https://*.example", "https://a.example,https://*"),
    *("https://A.example", "HTTPS://a.example", "https://a.example:443", "http://a.example:80,https://b.example"),
    *("https://a.example:0443", "https://user@a.example", "https://a.example?b", "https://münchen.example"),
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
    "origin",
    [
        *("https://a.example", "http://localhost:5173", "http://127.0.0.1:8080", "http://[::1]:8080"),
        *("https://a.example:80", "https://a.example:8443"),
        *(
            "capacitor://localhost",
            "ionic://localhost",
            "chrome-extension://abcdefghijklmnop",
            "https://xn--a-1ga.example",
        ),
    ],
)
def test_an_origin_that_is_sent_may_connect(origin: str) -> None:
    resolver = deployed({"AllowedOrigins": f"https://first.example,{origin}"})

    allowed = Handshake.read(environment(resolver, "AuthorizerFunction")).allowed_origins
    assert origin_allowed(origin, allowed)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"CodexBackend": "bridgehub"}, "CodexBackend=bridgehub needs BridgeHubUrl."),
        ({"CodexBackend": "openai", "OpenAIBaseUrl": ""}, "CodexBackend=openai needs OpenAIBaseUrl."),
        ({"ApnsSecret": "apple", "ApnsTeamId": "T", "ApnsKeyId": "K"}, "ApnsSecret needs ApnsBundleId."),
        ({"DailyCost": "5"}, "DailyCost needs AlarmTopic."),
        ({"ClaudeBackend": "bedrock"}, "ClaudeBackend=bedrock needs ClaudeModel by Bedrock's own names"),
        (
            {"ClaudeBackend": "bedrock", "ClaudeModel": "us.anthropic.claude-sonnet-4-6", "ClaudeWebSearches": "1"},
            "ClaudeBackend=bedrock has no web search.",
        ),
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


NESTED = {"Storage": "storage", "EdgeStack": "edge", "AlarmStack": "alarms"}
NOT_THEIR_OWN = {
    *("AWS::Lambda::Permission", "AWS::CloudWatch::Alarm"),
    *("AWS::ApiGatewayV2::Authorizer", "AWS::ApiGatewayV2::Stage"),
}
"""Whose ``Name`` is another's, or one within an API."""
EVERYTHING = {"Edge": "true", "AlarmTopic": "arn:aws:sns:us-east-1:123456789012:alarms", "DailyCost": "5"}


def stacks(name: str) -> dict[str, dict[str, Any]]:
    """All resources of a deployment with everything, those of the nested stacks, too, as their properties are."""
    resolver = Resolver(TRANSLATED, parameter_values(TRANSLATED, EVERYTHING, name), Named())
    found = {key: resource for key, resource in TRANSLATED["Resources"].items() if key not in NESTED}
    resolved = {key: resolver.resolve(resource) for key, resource in found.items()}
    for key, file in NESTED.items():
        nested = read(REPOSITORY / "infra" / f"{file}.yaml", {})
        given = resolver.resolve(TRANSLATED["Resources"][key]["Properties"].get("Parameters", {}))
        own = {"AWS::StackId": f"arn:aws:cloudformation:us-east-1:123456789012:stack/{name}-{key}/id-of-{name}"}
        inside = Resolver(nested, {**parameter_values(nested, given, f"{name}-{key}"), **own}, Named())
        resolved |= {f"{key}.{each}": inside.resolve(resource) for each, resource in nested["Resources"].items()}
    return resolved


def differ(one: Any, other: Any) -> bool:
    """What is a stack's own differs, or is another resource of the same stack."""
    return bool(one != other or str(one).startswith("<"))


def test_two_stacks_in_one_region_share_no_name() -> None:
    """Neither functions nor layers nor APIs nor metrics nor anything else that a template names."""
    one, other = stacks("one"), stacks("other")
    named = {
        (key, name)
        for key, resource in one.items()
        for name in resource.get("Properties", {})
        if name.endswith("Name") and resource["Type"] not in NOT_THEIR_OWN
    }

    assert {name for _, name in named} == {"FunctionName", "LayerName", "Name"}
    for key, name in named:
        assert differ(one[key]["Properties"][name], other[key]["Properties"][name]), key
    for key, resource in one.items():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            pairs = zip(resource["Properties"]["Dimensions"], other[key]["Properties"]["Dimensions"], strict=True)
            assert any(differ(mine["Value"], theirs["Value"]) for mine, theirs in pairs), key
        if resource["Type"] == "AWS::ApiGatewayV2::Api" and "Body" in resource["Properties"]:
            assert differ(*(each[key]["Properties"]["Body"]["info"]["title"] for each in (one, other)))
        if resource["Type"] == "AWS::Lambda::Function":
            variables = (each[key]["Properties"]["Environment"]["Variables"] for each in (one, other))
            assert [each["POWERTOOLS_SERVICE_NAME"] for each in variables] == ["one", "other"]


def test_the_longest_name_of_a_stack_is_written_down() -> None:
    """Lambda's names have at most 64 characters, and CloudFormation knows no rule for lengths."""
    functions = [each for each in stacks("").values() if each["Type"] == "AWS::Lambda::Function"]
    room = 64 - max(len(each["Properties"].get("FunctionName", "")) for each in functions)

    assert f"of at most {room} characters" in (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
    samconfig = tomllib.loads((REPOSITORY / "samconfig.toml").read_text(encoding="utf-8"))
    configured = [each["global"]["parameters"]["stack_name"] for each in samconfig.values() if isinstance(each, dict)]
    assert configured
    assert max(map(len, configured)) <= room


def test_the_operator_is_told_the_limits_that_functions_have() -> None:
    told = TRANSLATED["Outputs"]["Limits"]["Value"]
    functions = [each for each in TRANSLATED["Resources"].values() if each["Type"] == "AWS::Lambda::Function"]
    assert functions
    assert all(each["Properties"]["Environment"]["Variables"]["LIMITS"] == told for each in functions)
