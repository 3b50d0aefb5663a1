"""Users who have signed in somewhere else: their tokens open sockets, run out, are renewed and are revoked."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.builders.deployments import Relay
from tests.builders.doubles import Address
from tests.builders.oidc import EC, RSA, Provider
from tests.builders.patience import PATIENCE_S
from tests.builders.phone import Phone
from tests.builders.push_services import Authority, serving_in_thread
from tests.layers.chatrelay.tokens.test_providers import (
    AUTH0,
    CLERK,
    COGNITO_ACCESS,
    ENTRA_V2,
    FIREBASE,
    KEYCLOAK,
    SUPABASE,
)
from tests.system.scenes import held

PROVIDERS: dict[str, tuple[dict[str, Any], str]] = {
    "cognito": (COGNITO_ACCESS, "4abc"),
    "auth0": (AUTH0, "https://api.example.com"),
    "clerk": (CLERK, "https://app.example.com"),
    "firebase": (FIREBASE, "demo"),
    "supabase": (SUPABASE, "authenticated"),
    "entra": (ENTRA_V2, str(ENTRA_V2["aud"])),
    "keycloak": (KEYCLOAK, "account"),
}
"""What a token of each has in it, and for whom the deployment says that its tokens must be meant."""
AT_ONCE = 2
HOUR_S = 3600
JUST_NOW_S = -10
"""Within the time that clocks may be apart: such a token opens a socket, and that is all it does."""


def token(provider: str, lives_s: int = HOUR_S, **more: Any) -> str:
    now_s = int(time.time())
    times = {"iat": now_s - 60, "nbf": now_s - 60, "auth_time": now_s - 60, "exp": now_s + lives_s}
    return RSA.sign(PROVIDERS[provider][0] | times | more)


@pytest.fixture(scope="module")
def provider(authority: Authority) -> Iterator[Provider]:
    address = Address()
    with serving_in_thread(address, authority) as address.url:
        provider = Provider(address.url)
        address.app = provider.app
        yield provider


@pytest.fixture(scope="module")
def relay(start_relay: Callable[..., Relay], provider: Provider, authority: Authority) -> Relay:
    issuers = {
        "OidcIssuer": [f"{name}={claims['iss']}" for name, (claims, _) in PROVIDERS.items()],
        "OidcAudience": [f"{name}={audience}" for name, (_, audience) in PROVIDERS.items()],
        "OidcUserClaim": ["entra=oid"],
        "OidcJwksUrl": [f"{name}={provider.url}/keys" for name in PROVIDERS],
    }
    parameters = [f"{name}={' '.join(entries)}" for name, entries in issuers.items()]
    arguments = tuple(part for each in parameters for part in ("--parameter", each))
    arguments += ("--parameter", f"RepliesAtOnce={AT_ONCE}", "--limit", f"max_environments={AT_ONCE + 1}")
    return start_relay(*arguments, "--verbose", SSL_CERT_FILE=str(authority.roots))


def status(relay: Relay, key: str, method: str = "GET", path: str = "/api/conversations") -> int:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.request(method, f"http://{relay.address}{path}", headers=headers, timeout=PATIENCE_S).status_code


@pytest.mark.parametrize("name", PROVIDERS)
async def test_a_token_opens_a_socket_runs_out_is_renewed_in_place_and_is_revoked(relay: Relay, name: str) -> None:
    signed_in, relay_key = token(name), relay.key
    hello = {"action": "hello", "conversation": name}
    async with Phone.connected(relay.websocket, token(name, JUST_NOW_S)) as phone:
        await phone.say(hello)
        assert (await phone.hear())["code"] == "expired"
        await phone.say({"action": "send", "id": "m1", "conversation": name, "content": "Hello"})
        refused = await phone.hear()
        assert (refused["code"], refused["id"]) == ("expired", "m1")

        await phone.say({"action": "auth", "token": relay_key})
        assert (await phone.hear())["code"] == "forbidden", "another user's"
        await phone.say({"action": "auth", "token": signed_in})
        ready = await phone.hear()
        assert ready["type"] == "ready"
        assert ready["user"].startswith(f"{name}:")
        assert "good_until" in ready
        assert (await phone.ask("Hello", id="m1", conversation=name))[-1]["type"] == "complete"

        assert status(relay, signed_in) == 200
        assert status(relay, signed_in, "DELETE", "/api/session") == 200
        with pytest.raises(ConnectionClosed):
            await phone.socket.recv()

    assert status(relay, signed_in) == 401
    with pytest.raises(InvalidStatus) as handshake:
        async with Phone.connected(relay.websocket, signed_in):
            raise AssertionError("it is signed out")
    assert handshake.value.response.status_code == 401
    assert status(relay, relay_key) == 200, "keys go on"


async def test_a_browser_brings_its_token_as_a_subprotocol(relay: Relay) -> None:
    async with Phone.browser(relay.websocket, token("clerk", sid="another"), f"http://{relay.address}") as phone:
        await phone.say({"action": "hello"})
        assert (await phone.hear())["user"] == "clerk:user_2abc"


def test_who_is_refused_is_told_nothing_and_the_operator_why(relay: Relay, provider: Provider) -> None:
    fetched = len(provider.fetched)
    wrong = {
        "signature": token("auth0")[:-6] + "AAAAAA",
        "issuer": token("auth0", iss="https://elsewhere.example/"),
        "audience": token("auth0", aud="https://other.example"),
        "expired": token("auth0", -120),
        "not_yet_valid": token("auth0", nbf=int(time.time()) + 120),
        "kind": token("cognito", token_use="id"),
        "key": EC.sign(PROVIDERS["auth0"][0] | {"exp": int(time.time()) + HOUR_S}),
        "malformed": "an opaque one",
    }
    for each in wrong.values():
        headers = {"Authorization": f"Bearer {each}"}
        answer = httpx.get(f"http://{relay.address}/api/conversations", headers=headers, timeout=PATIENCE_S)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")

    def unexplained() -> set[str]:
        lines = [line for line in relay.log if "token refused" in line]
        return {reason for reason in wrong if not any(f'"reason":"{reason}"' in line for line in lines)}

    until_s = time.monotonic() + PATIENCE_S
    while unexplained() and time.monotonic() < until_s:  # a function's line may come after its answer
        time.sleep(0.05)
    assert unexplained() == set()
    assert not any(each in line for each in wrong.values() for line in relay.log), "no token is logged"
    assert len(provider.fetched) - fetched <= 2, "a foreign key does not fetch the keys each time"


async def test_a_user_who_does_their_worst_keeps_nobody_else_waiting(relay: Relay) -> None:
    """As many replies as one user may have are held, and the other's comes: an environment is left for it."""
    scripts = [held("Slow", "ly.") for _ in range(2 * AT_ONCE)]
    for number, (script, _) in enumerate(scripts):
        relay.plays(f"slow {number}", script)
    worst, other = token("auth0", sub="worst"), token("auth0", sub="other")
    async with Phone.connected(relay.websocket, worst) as phone, Phone.connected(relay.websocket, other) as another:
        refused = []
        for number in range(2 * AT_ONCE):
            await phone.say({"action": "send", "id": "m", "conversation": f"c{number}", "content": f"slow {number}"})
            frame = (await phone.hear_until(lambda frame: frame["type"] in ("typing", "error")))[-1]
            refused += [frame["code"]] if frame["type"] == "error" else []
        assert refused == ["rate_limited"] * AT_ONCE

        assert (await another.ask("Hello", id="m", conversation="talk"))[-1]["type"] == "complete"

        for _, released in scripts:
            released.set()
        for _ in range(AT_ONCE):
            await phone.hear_until(lambda frame: frame["type"] == "complete")
        assert (await phone.ask("Hello", id="m", conversation="c9"))[-1]["type"] == "complete"


async def test_what_was_under_way_when_a_credential_was_revoked_is_written_to_its_end(relay: Relay) -> None:
    """The message that waits behind it is answered, too: both were accepted."""
    script, released = held("Slow", "ly.")
    relay.plays("under way", script)
    first, second = (token("auth0", sub="gone", auth_time=at) for at in (1, 2))  # two sign-ins
    async with Phone.connected(relay.websocket, first) as phone:
        for name, content in (("m1", "under way"), ("m2", "Hello")):
            await phone.say({"action": "send", "id": name, "conversation": "talk", "content": content})
            await phone.hear_until(lambda frame: frame["type"] == "typing")
        assert status(relay, first, "DELETE", "/api/session") == 200
    released.set()

    async with Phone.connected(relay.websocket, second) as phone:
        for name in ("m1", "m2"):
            await phone.say({"action": "send", "id": name, "conversation": "talk", "content": "known"})
            ended = (await phone.hear_until(lambda frame: frame["type"] in ("complete", "error")))[-1]
            assert ended["type"] == "complete"
