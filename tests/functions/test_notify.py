"""``functions/notify`` as Lambda calls it: what it logs and counts, by which the alarm goes off."""

import json
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from chatrelay.domain.devices import Platform
from chatrelay.domain.reply import Ending, Reply
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound
from chatrelay.wire.registration import Registration
from emulator.services.services import Services
from tests.builders.layer import CONTEXT, Store, by_key
from tests.builders.written import text

UNSET = ("APNS_SECRET", "APNS_TEAM", "APNS_KEY_ID", "APNS_BUNDLE", "APNS_URL", "APNS_SANDBOX_URL", "FCM_URL")


@pytest.fixture
def function(aws: Services, load_function: Callable[..., ModuleType]) -> Iterator[ModuleType]:
    """Deployed without Apple's key, and with something else in the place of Google's."""
    aws.client("secretsmanager").create_secret(Name="google", SecretString="none of Google's")
    module = load_function("notify", **dict.fromkeys(UNSET, ""), FCM_SECRET="google", PUSH_PREVIEW="true")
    yield module
    module.runner.close()


def complete_reply(store: Store) -> dict[str, str]:
    """The event that tells of one."""
    accepted = store.conversations.accept("alice", Send("m1", "talk", "Hello", "claude"), 1, worker="worker-1")
    reply = Reply(accepted.stream.reply)
    reply.append(text("Good morning"))
    reply.complete(Ending("end_turn", "claude", {"output_tokens": 3}, [{"type": "text", "text": "Good morning"}]))
    store.conversations.finish(accepted, reply, Outbound("complete"))
    return {"user": "alice", "conversation": "talk", "reply": accepted.stream.reply, "turn": accepted.turn}


def test_a_service_that_refuses_raises_the_alarm_and_a_platform_without_one_is_noted_once(
    function: ModuleType, store: Store, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    devices = store.devices
    for device, platform in (("phone", Platform.IOS), ("tablet", Platform.IOS), ("robot", Platform.ANDROID)):
        devices.register(by_key("alice"), Registration(device, device, platform))

    function.handler(complete_reply(store), CONTEXT)

    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [each["PushesMisconfigured"] for each in metrics] == [[1.0]]
    assert caplog.messages == ["this deployment cannot push", "no push service is set up for this platform"]
