"""Tokens with the claims that each provider gives, and what an operator reads of those that are refused."""

from typing import Any

import pytest
from starlette.responses import JSONResponse

from chatrelay.domain.errors import Unauthorized
from tests.builders.oidc import DISCOVERY, EC, NOW_S, RSA, Provider, compact
from tests.layers.chatrelay.tokens.conftest import Build, Log

TIMES = {"iat": NOW_S, "exp": NOW_S + 3600}
COGNITO = {
    **TIMES,
    "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_Ab3dEfGhI",
    "sub": "c0ffee00-0000-4000-8000-000000000001",
    "origin_jti": "0a1b",
    "event_id": "e1",
    "auth_time": NOW_S,
    "jti": "2c3d",
}
COGNITO_ACCESS = {**COGNITO, "token_use": "access", "client_id": "4abc", "scope": "openid", "username": "ann"}
COGNITO_ID = {**COGNITO, "token_use": "id", "aud": "4abc", "email": "ann@example.com", "email_verified": True}
AUTH0 = {
    **TIMES,
    "iss": "https://tenant.eu.auth0.com/",
    "sub": "google-oauth2|1049",
    "aud": ["https://api.example.com", "https://tenant.eu.auth0.com/userinfo"],
    "azp": "client",
    "scope": "openid profile",
}
CLERK = {
    **TIMES,
    "iss": "https://clerk.example.com",
    "sub": "user_2abc",
    "sid": "sess_2abc",
    "azp": "https://app.example.com",
    "nbf": NOW_S - 10,
    "exp": NOW_S + 60,
    "v": 2,
    "fva": [0, -1],
}
FIREBASE = {
    **TIMES,
    "iss": "https://securetoken.google.com/demo",
    "aud": "demo",
    "auth_time": NOW_S - 86400,
    "user_id": "u1",
    "sub": "u1",
    "firebase": {"identities": {}, "sign_in_provider": "anonymous"},
}
SUPABASE = {
    **TIMES,
    "iss": "https://abcd.supabase.co/auth/v1",
    "aud": "authenticated",
    "sub": "c0ffee00-0000-4000-8000-000000000002",
    "role": "authenticated",
    "aal": "aal1",
    "session_id": "c0ffee00-0000-4000-8000-000000000003",
    "is_anonymous": False,
}
ENTRA = "https://login.microsoftonline.com/c0ffee00-0000-4000-8000-000000000004"
ENTRA_V2 = {
    **TIMES,
    "iss": f"{ENTRA}/v2.0",
    "aud": "c0ffee00-0000-4000-8000-000000000005",
    "sub": "pairwise",
    "oid": "person",
    "ver": "2.0",
    "uti": "u",
}
ENTRA_V1 = {
    **TIMES,
    "iss": "https://sts.windows.net/c0ffee00-0000-4000-8000-000000000004/",
    "aud": "api://chat",
    "sub": "pairwise",
    "oid": "person",
    "ver": "1.0",
    "appid": "client",
}
KEYCLOAK = {
    **TIMES,
    "iss": "https://id.example/realms/My%20Realm",
    "aud": "account",
    "sub": "c0ffee00-0000-4000-8000-000000000006",
    "typ": "Bearer",
    "azp": "web",
    "sid": "s1",
    "acr": "1",
    "jti": "onrtac:1",
}


def variables(claims: dict[str, Any], audience: str, **more: str) -> dict[str, str]:
    """What a deployment says for the issuer of `claims`."""
    return {"OIDC_ISSUER": f"app={claims['iss']}", "OIDC_AUDIENCE": f"app={audience}"} | more


@pytest.mark.parametrize(
    ("claims", "settings", "user", "credential"),
    [
        (COGNITO_ACCESS, variables(COGNITO, "4abc"), "app:c0ffee00-0000-4000-8000-000000000001", "app:0a1b"),
        (
            COGNITO_ID,
            variables(COGNITO, "4abc", OIDC_REQUIRE="app=token_use=id", OIDC_USER_CLAIM="app=email"),
            "app:ann%40example.com",
            "app:0a1b",
        ),
        (AUTH0, variables(AUTH0, "https://api.example.com"), "app:google-oauth2%7C1049", None),
        (CLERK, variables(CLERK, "https://app.example.com app=none"), "app:user_2abc", "app:sess_2abc"),
        (
            {name: value for name, value in CLERK.items() if name != "azp"},
            variables(CLERK, "none"),
            "app:user_2abc",
            "app:sess_2abc",
        ),
        (FIREBASE, variables(FIREBASE, "demo"), "app:u1", f"app:{NOW_S - 86400}%40u1"),
        (
            SUPABASE,
            variables(SUPABASE, "authenticated", OIDC_REQUIRE="app=is_anonymous=false"),
            "app:c0ffee00-0000-4000-8000-000000000002",
            "app:c0ffee00-0000-4000-8000-000000000003",
        ),
        (
            ENTRA_V2,
            variables(ENTRA_V2, "c0ffee00-0000-4000-8000-000000000005", OIDC_USER_CLAIM="app=oid"),
            "app:person",
            None,
        ),
        (ENTRA_V1, variables(ENTRA_V1, "api://chat"), "app:pairwise", None),
        (KEYCLOAK, variables(KEYCLOAK, "account"), "app:c0ffee00-0000-4000-8000-000000000006", "app:s1"),
    ],
    ids=[
        "Cognito",
        "Cognito's id",
        "Auth0",
        "Clerk",
        "Clerk native",
        "Firebase",
        "Supabase",
        "Entra 2",
        "Entra 1",
        "Keycloak",
    ],
)
def test_a_token_of_each_provider_names_its_user(
    build: Build,
    provider: Provider,
    claims: dict[str, Any],
    settings: dict[str, str],
    user: str,
    credential: str | None,
) -> None:
    tokens = build(**settings, OIDC_JWKS_URL=f"app={provider.url}/keys")
    token = RSA.sign(claims)

    identity = tokens.verify(token)

    assert identity.user == user
    assert identity.issued_at == NOW_S
    assert identity.expires_at == claims["exp"]
    if credential is not None:
        assert identity.credential == credential
    else:  # of the token itself
        assert (
            identity.credential
            == tokens.verify(token).credential
            != tokens.verify(RSA.sign(claims | {"a": 1})).credential
        )


@pytest.mark.parametrize(
    ("token", "settings", "reason", "advice"),
    [
        (RSA.sign(COGNITO_ID), variables(COGNITO, "4abc"), "kind", "token_use is not access"),
        (
            RSA.sign(COGNITO_ACCESS),
            variables(COGNITO, "5abc"),
            "audience",
            "client_id is 4abc, OIDC_AUDIENCE allows 5abc",
        ),
        (RSA.sign(AUTH0), variables(AUTH0 | {"iss": "https://tenant.eu.auth0.com"}, "x"), "issuer", "slashes too"),
        (
            RSA.sign(AUTH0),
            variables(AUTH0, "x app=y"),
            "audience",
            "https://tenant.eu.auth0.com/userinfo, OIDC_AUDIENCE allows x, y",
        ),
        ("k8yJ3mQ0pXv", variables(AUTH0, "x"), "malformed", "access token with an audience"),
        (compact({"alg": "dir"}, {}) + "..a.b", variables(AUTH0, "x"), "malformed", "access token with an audience"),
        (
            RSA.sign(CLERK | {"azp": "https://evil.example"}),
            variables(CLERK, "https://app.example.com app=none"),
            "audience",
            "azp is https://evil",
        ),
        (
            compact({"alg": "HS256", "typ": "JWT"}, SUPABASE, b"mac"),
            variables(SUPABASE, "authenticated"),
            "algorithm",
            "shared secret: move the project",
        ),
        (
            RSA.sign(SUPABASE | {"is_anonymous": True}),
            variables(SUPABASE, "authenticated", OIDC_REQUIRE="app=is_anonymous=false"),
            "claim",
            "is_anonymous is not false",
        ),
        (
            RSA.sign(ENTRA_V2),
            variables({"iss": "https://login.microsoftonline.com/common/v2.0"}, "x"),
            "issuer",
            "for Entra, the tenant",
        ),
        (RSA.sign(ENTRA_V1), variables(ENTRA_V2, "api://chat"), "issuer", "exactly as its tokens name it"),
        (RSA.sign(KEYCLOAK | {"typ": "ID"}), variables(KEYCLOAK, "account"), "kind", "typ is not Bearer"),
        (
            RSA.sign(KEYCLOAK | {"iss": "https://id.example/realms/My Realm"}),
            variables(KEYCLOAK, "account"),
            "issuer",
            "exactly",
        ),
    ],
    ids=[
        "Cognito's id",
        "another client of Cognito's",
        "Auth0 without the slash",
        "another API of Auth0's",
        "opaque",
        "encrypted",
        "another page of Clerk's",
        "Supabase's shared secret",
        "anonymous",
        "common",
        "Entra 1 for 2",
        "Keycloak's id",
        "a realm that is not encoded",
    ],
)
def test_an_operator_reads_what_to_do_about_each_provider(
    build: Build, provider: Provider, log: Log, token: str, settings: dict[str, str], reason: str, advice: str
) -> None:
    tokens = build(**settings, OIDC_JWKS_URL=f"app={provider.url}/keys")

    with pytest.raises(Unauthorized, match=r"^Invalid token$"):
        tokens.verify(token)

    (line,) = log.lines
    assert (line["message"], line["level"], line["reason"]) == ("token refused", "WARNING", reason)
    assert advice in line["advice"]


@pytest.mark.parametrize("path", ["", "/", "/realms/My%20Realm", "/realms/a/"])
def test_keys_are_where_the_issuers_discovery_says(build: Build, provider: Provider, path: str) -> None:
    issuer = provider.url + path
    provider.discovery = {"issuer": issuer, "jwks_uri": f"{provider.url}/keys?p=b2c_1"}
    provider.keys = [EC.jwk()]

    identity = build(OIDC_ISSUER=f"app={issuer}").verify(EC.sign(provider.claims(iss=issuer)))

    assert identity.user == "app:65f"
    assert provider.fetched == [path.removesuffix("/") + DISCOVERY, "/keys"]


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        ({"issuer": "https://login.microsoftonline.com/{tenantid}/v2.0"}, "for Entra, with the tenant"),
        ({"issuer": "https://other.example"}, "says 'https://other.example', OIDC_ISSUER must have exactly that"),
        ({"issuer": None}, "says None"),
        ({"jwks_uri": "http://127.0.0.1:1/keys"}, "no jwks_uri that begins with https://"),
        ({"jwks_uri": "https://user@127.0.0.1/keys"}, "no jwks_uri that begins with https://"),
        ({"jwks_uri": ["https://127.0.0.1/keys"]}, "no jwks_uri that begins with https://"),
    ],
    ids=["placeholder", "another", "none", "http", "credentials", "a list"],
)
def test_a_discovery_that_lies_is_not_followed(
    build: Build, provider: Provider, log: Log, answer: dict[str, Any], advice: str
) -> None:
    provider.discovery = answer

    with pytest.raises(Unauthorized):
        build().verify(RSA.sign(provider.claims()))

    assert (log.reason, provider.fetched) == ("keys", [DISCOVERY])
    assert advice in log.lines[0]["advice"]


def test_two_issuers_never_share_a_user(build: Build, provider: Provider) -> None:
    """Each is verified by its own keys alone, whatever a token of the other says."""
    provider.answers["/other"] = JSONResponse({"keys": [EC.jwk()]})
    tokens = build(
        OIDC_ISSUER=f"app={provider.url} other=https://other.example",
        OIDC_AUDIENCE="app=api other=api",
        OIDC_JWKS_URL=f"other={provider.url}/other",
    )
    others = provider.claims(iss="https://other.example")

    assert tokens.verify(RSA.sign(provider.claims())).user == "app:65f"
    assert tokens.verify(EC.sign(others)).user == "other:65f"
    for forged in (EC.sign(provider.claims()), RSA.sign(others)):
        with pytest.raises(Unauthorized):
            tokens.verify(forged)
