"""What stands in for the push services, asked by whoever does not know how."""

import httpx
import pytest

from emulator.stand_ins.push_services import PushServices

GOOGLE = "/v1/projects/local/messages:send"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers"),
    [
        ("GET", "/events", "", {}),
        ("GET", "/events?token=t", "", {"Last-Event-ID": "x"}),
        ("POST", "/3/device/t", "no JSON", {}),
        ("POST", "/3/device/t", "[]", {}),
        ("POST", GOOGLE, "", {}),
        ("POST", GOOGLE, "{}", {}),
        ("POST", GOOGLE, '{"message": {"token": 7}}', {}),
    ],
)
async def test_what_cannot_be_read_is_a_bad_request(method: str, path: str, body: str, headers: dict[str, str]) -> None:
    services = PushServices()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(services), base_url="http://127.0.0.1") as client:
        assert (await client.request(method, path, content=body, headers=headers)).status_code == 400
    assert services.pushes == []
