"""Phones that are registered for pushes, and what the push services got."""

import asyncio
from typing import Any

import httpx

from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S


async def call(relay: Relay, method: str, path: str, key: str | None = None, **options: Any) -> httpx.Response:
    headers = {"X-API-Key": relay.key if key is None else key}
    async with httpx.AsyncClient(base_url=f"http://{relay.address}", headers=headers, timeout=30) as client:
        return await client.request(method, path, **options)


async def register(
    relay: Relay, device: str, token: str, platform: str = "ios", key: str | None = None
) -> httpx.Response:
    registration = {"device_token": token, "platform": platform, "device_id": device}
    return await call(relay, "POST", "/api/notifications/register", key, json=registration)


async def pushed(relay: Relay, token: str) -> list[dict[str, Any]]:
    pushes = (await call(relay, "GET", "/pushes/")).json()
    return [push["payload"] for push in pushes if push["token"] == token]


async def pushes_to(relay: Relay, token: str, count: int = 1) -> list[dict[str, Any]]:
    """As soon as there are so many."""
    async with asyncio.timeout(PATIENCE_S):
        while len(found := await pushed(relay, token)) < count:  # noqa: ASYNC110 -- no event tells of it
            await asyncio.sleep(0.2)
    return found
