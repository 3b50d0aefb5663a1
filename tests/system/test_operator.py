"""The operator's command beside real sockets, as whoever runs the emulator calls it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from chatrelay.wire.identity import key_hash
from tests.builders.credentials import file_of
from tests.builders.deployments import REPOSITORY, Relay
from tests.builders.phone import Phone

KEY, OTHER_KEY = "crk_the-operated", "crk_the-operated-too"
USER = "operated"

Operator = Callable[..., Any]


@pytest.fixture
def operator(relay: Relay) -> Operator:
    """Runs the command in a shell that knows of no other account, and returns its JSON."""
    shell = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    shell["AWS_SHARED_CREDENTIALS_FILE"] = str(file_of(relay.log))
    options = ("--stack", "local", "--json")

    def call(*arguments: str) -> Any:
        ran = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "infra.operator", *arguments, *options],
            cwd=REPOSITORY,
            env=shell,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, "")
        return json.loads(ran.stdout)

    return call


async def test_the_operator_sees_a_chat_and_ends_who_may_not_go_on(
    relay: Relay, table: Table, operator: Operator, conversation: str
) -> None:
    url = f"{relay.websocket}?agent=claude"
    for key in (KEY, OTHER_KEY):
        ApiKeys(table).add(key, USER)

    async with Phone.connected(url, KEY) as phone, Phone.connected(url, OTHER_KEY) as tablet:
        await phone.ask("Hello", id="m1", conversation=conversation)

        shown = operator("users", "show", USER)
        assert {each["conversation"] for each in shown["sockets"]} == {conversation, None}
        assert (shown["usage"][0]["replies"], shown["replies"], shown["models"][0]["replies"]) == (1, [], 1)

        key_id = key_hash(KEY)[:12]
        assert operator("keys", "revoke", key_id) == {"id": key_id, "user": USER, "sockets_closed": 1}
        assert await is_closed(phone)
        assert await is_refused(url, KEY)
        await tablet.ask("Still there?", id="m2", conversation=conversation)

        assert operator("users", "block", USER) == {"user": USER, "sockets_closed": 1}
        assert await is_closed(tablet)
        assert await is_refused(url, OTHER_KEY)


async def is_closed(phone: Phone) -> bool:
    """Whether nothing is heard any more; frames of before may come."""
    with suppress(ConnectionClosed):
        while True:
            await phone.hear()
    return phone.socket.close_code is not None


async def is_refused(url: str, key: str) -> bool:
    with pytest.raises(InvalidStatus) as refused:
        async with Phone.connected(url, key):
            pass
    return refused.value.response.status_code in (401, 403)
