from collections.abc import Callable

import pytest

from chatrelay.domain.errors import SettingError
from chatrelay.settings import BridgeHub, Claude, Environment, Handshake, Issuer, Oidc, OpenAI

CLAUDE = {
    "CLAUDE_BACKEND": "anthropic",
    "CLAUDE_SECRET": "relay/anthropic",
    "CLAUDE_MODEL": "claude-sonnet-5",
    "CLAUDE_FALLBACK_MODEL": "claude-haiku-5",
    "CLAUDE_THINKING": "true",
    "CLAUDE_WEB_SEARCHES": "0",
    "CLAUDE_MAX_TOKENS": "4096",
    "CLAUDE_PROMPT": "",
    "CLAUDE_READ_TIMEOUT": "60",
    "CLAUDE_HISTORY_TOKENS": "100000",
}
BRIDGEHUB = {
    "BRIDGEHUB_URL": "https://bridge.example",
    "BRIDGEHUB_SECRET": "relay/bridgehub",
    "BRIDGEHUB_WORKING_DIRECTORY": "/work",
}
OPENAI = {
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "OPENAI_SECRET": "relay/openai",
    "CODEX_MODEL": "gpt-5",
    "CODEX_THINKING": "true",
    "CODEX_MAX_TOKENS": "4096",
    "CODEX_PROMPT": "",
    "CODEX_READ_TIMEOUT": "60",
}
NO_ISSUER = {"OIDC_ISSUER": "", "OIDC_AUDIENCE": "", "OIDC_USER_CLAIM": "", "OIDC_REQUIRE": "", "OIDC_JWKS_URL": ""}


def test_the_settings_of_claude_are_typed() -> None:
    assert Claude.read(Environment(CLAUDE)) == Claude(
        bedrock=False,
        secret="relay/anthropic",
        model="claude-sonnet-5",
        fallback_model="claude-haiku-5",
        thinking=True,
        web_searches=0,
        max_tokens=4096,
        prompt="",
        read_timeout_s=60,
        history_tokens=100_000,
    )


def test_the_settings_of_codex_are_typed() -> None:
    assert BridgeHub.read(Environment(BRIDGEHUB)) == BridgeHub("https://bridge.example", "relay/bridgehub", "/work")
    assert OpenAI.read(Environment(OPENAI)) == OpenAI(
        "https://api.openai.com/v1", "relay/openai", "gpt-5", True, 4096, "", read_timeout_s=60
    )


@pytest.mark.parametrize(
    ("read", "variables", "name"),
    [
        (read, variables, name)
        for read, variables in [
            (Claude.read, CLAUDE),
            (BridgeHub.read, BRIDGEHUB),
            (OpenAI.read, OPENAI),
            (Oidc.read, NO_ISSUER),
        ]
        for name in variables
    ],
    ids=[*CLAUDE, *BRIDGEHUB, *OPENAI, *NO_ISSUER],
)
def test_a_missing_variable_is_named(
    read: Callable[[Environment], object], variables: dict[str, str], name: str
) -> None:
    present = {key: value for key, value in variables.items() if key != name}

    with pytest.raises(SettingError, match=f"{name} is missing"):
        read(Environment(present))


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "1e3", "many", "1 5", "²", "9" * 5000])
def test_a_number_must_be_a_whole_one(value: str) -> None:
    with pytest.raises(SettingError, match="CLAUDE_MAX_TOKENS must be a whole number from 1 on"):
        Claude.read(Environment({**CLAUDE, "CLAUDE_MAX_TOKENS": value}))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bridge.example",
        "ftp://bridge.example",
        "http://[::1",
        "https://bridge.example:99999",
        "https://bridge.example:",
        "https://alice:secret@bridge.example",
        "https://bridge.example/?q=1",
        "https://bridge..example",
        "https://bridge.example/ a",
    ],
)
def test_an_address_must_be_one_that_can_be_asked(value: str) -> None:
    with pytest.raises(SettingError, match="BRIDGEHUB_URL must be an address"):
        BridgeHub.read(Environment({**BRIDGEHUB, "BRIDGEHUB_URL": value}))


@pytest.mark.parametrize("value", ["claude-sonnet-5\n", " claude-sonnet-5", "\ufeffclaude-sonnet-5\r\n"])
def test_a_variable_is_taken_as_it_was_meant_when_it_was_pasted(value: str) -> None:
    assert Claude.read(Environment({**CLAUDE, "CLAUDE_MODEL": value})).model == "claude-sonnet-5"


@pytest.mark.parametrize("value", ["", "-1", "1.5", "many"])
def test_a_count_must_be_a_whole_number(value: str) -> None:
    with pytest.raises(SettingError, match="CLAUDE_WEB_SEARCHES must be a whole number from 0 on"):
        Claude.read(Environment({**CLAUDE, "CLAUDE_WEB_SEARCHES": value}))


@pytest.mark.parametrize("value", ["", "True", "1", "yes", "fal se"])
def test_a_flag_must_be_true_or_false(value: str) -> None:
    with pytest.raises(SettingError, match="FIRST_FRAME_AUTH must be true or false"):
        Handshake.read(Environment({"FIRST_FRAME_AUTH": value, "ALLOWED_ORIGINS": ""}))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", set()),
        (" , ,", set()),
        ("a", {"a"}),
        ("https://a.example, https://b.example,", {"https://a.example", "https://b.example"}),
    ],
    ids=["empty", "only commas", "one", "two"],
)
def test_a_list_has_commas_between_its_names(value: str, names: set[str]) -> None:
    variables = {"FIRST_FRAME_AUTH": "true", "ALLOWED_ORIGINS": value}

    assert Handshake.read(Environment(variables)) == Handshake(True, frozenset(names))


def test_without_issuer_nobodys_tokens_are_taken() -> None:
    assert Oidc.read(Environment(NO_ISSUER)) == Oidc(())


def test_issuers_are_read_by_their_short_names() -> None:
    app, staff = "https://tenant.eu.auth0.com/", "https://login.microsoftonline.com/c0ffee00/v2.0"
    variables = {
        "OIDC_ISSUER": f" app={app}\n staff={staff} realm-2=https://id.example:8443/realms/My%20Realm",
        "OIDC_AUDIENCE": "app=https://api.example.com app=none staff=api://x realm-2=account app=second",
        "OIDC_USER_CLAIM": "staff=oid",
        "OIDC_REQUIRE": "app=plan=pro app=https://example.com/team=a%20b%3Dc",
        "OIDC_JWKS_URL": "staff=https://login.microsoftonline.com/keys?p=b2c_1",
    }

    assert Oidc.read(Environment(variables)).issuers == (
        Issuer(
            name="app",
            url=app,
            audiences=frozenset({"https://api.example.com", "second"}),
            admits_no_audience=True,
            user_claim="sub",
            required=(("plan", "pro"), ("https://example.com/team", "a b=c")),
            jwks_url="",
        ),
        Issuer(
            name="staff",
            url=staff,
            audiences=frozenset({"api://x"}),
            admits_no_audience=False,
            user_claim="oid",
            required=(),
            jwks_url="https://login.microsoftonline.com/keys?p=b2c_1",
        ),
        Issuer(
            name="realm-2",
            url="https://id.example:8443/realms/My%20Realm",
            audiences=frozenset({"account"}),
            admits_no_audience=False,
            user_claim="sub",
            required=(),
            jwks_url="",
        ),
    )


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"OIDC_ISSUER": "https://a.example"}, "OIDC_ISSUER must have entries like app=value .*'https://a.example'"),
        ({"OIDC_ISSUER": "App=https://a.example"}, "OIDC_ISSUER must have entries .*'App=https://a.example'"),
        ({"OIDC_ISSUER": "a-name-too-long-x=https://a.example"}, "OIDC_ISSUER must have entries"),
        ({"OIDC_ISSUER": "app="}, "OIDC_ISSUER must have entries .*'app='"),
        ({"OIDC_ISSUER": "app=http://a.example"}, "OIDC_ISSUER has 'app=http://a.example': write https://"),
        ({"OIDC_ISSUER": "app=a.example"}, "OIDC_ISSUER has 'app=a.example': write an address that begins with https"),
        ({"OIDC_ISSUER": "app=https://user@a.example"}, "OIDC_ISSUER has .*: write an address"),
        ({"OIDC_ISSUER": "app=https://a.example?x=1"}, "OIDC_ISSUER has .*: write an address"),
        ({"OIDC_ISSUER": "app=https://a.example app=https://b.example"}, "'app=https://b.example': app may come once"),
        (
            {"OIDC_ISSUER": "app=https://a.example b=https://a.example"},
            "OIDC_ISSUER has .*: two names have this address",
        ),
        (
            {"OIDC_AUDIENCE": ""},
            "OIDC_ISSUER has 'app=https://a.example': app has no audience, add app=.* OIDC_AUDIENCE",
        ),
        ({"OIDC_AUDIENCE": "app=api ap=api"}, "OIDC_AUDIENCE has 'ap=api': OIDC_ISSUER has no ap, add it there"),
        ({"OIDC_AUDIENCE": "api"}, "OIDC_AUDIENCE must have entries .*'api'"),
        ({"OIDC_USER_CLAIM": "b=oid"}, "OIDC_USER_CLAIM has 'b=oid': OIDC_ISSUER has no b"),
        ({"OIDC_USER_CLAIM": "app=oid app=sub"}, "OIDC_USER_CLAIM has 'app=sub': app may come once"),
        ({"OIDC_REQUIRE": "b=plan=pro"}, "OIDC_REQUIRE has 'b=plan=pro': OIDC_ISSUER has no b"),
        ({"OIDC_REQUIRE": "app=plan"}, "OIDC_REQUIRE has 'app=plan': write app=claim=value"),
        ({"OIDC_REQUIRE": "app==pro"}, "OIDC_REQUIRE has 'app==pro': write app=claim=value"),
        ({"OIDC_JWKS_URL": "b=https://a.example/keys"}, "OIDC_JWKS_URL has .*: OIDC_ISSUER has no b"),
        ({"OIDC_JWKS_URL": "app=http://a.example/keys"}, "OIDC_JWKS_URL has .*: write https://"),
        ({"OIDC_JWKS_URL": "app=https://a.example/#keys"}, "OIDC_JWKS_URL has .*: write an address"),
        ({"OIDC_ISSUER": ""}, "OIDC_AUDIENCE has 'app=api': OIDC_ISSUER has no app"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_entry_is_named_with_its_cure(variables: dict[str, str], problem: str) -> None:
    usual = {**NO_ISSUER, "OIDC_ISSUER": "app=https://a.example", "OIDC_AUDIENCE": "app=api"}

    with pytest.raises(SettingError, match=problem):
        Oidc.read(Environment(usual | variables))
