"""Tells a user's phones that a reply has come: one push a phone, whatever is tried again."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from chatrelay.domain.devices import Device, Platform
from chatrelay.domain.errors import PushesOwed
from chatrelay.push.service import Dead, Delivered, Later, Notification, Service, Verdict
from chatrelay.store.devices import Devices
from chatrelay.store.pushes import Claim, Pushes

FIRST_PAUSE_S = 1.0
GROWTH = 2.0
SETTLING_S = 5.0
"""How much longer than its push a claim lasts: what it takes to write down how it went."""


@dataclass(frozen=True)
class ToldBefore:
    """An earlier call has settled this phone's push."""


@dataclass(frozen=True)
class NotServed:
    """This deployment does without pushes to phones of that platform."""

    platform: Platform


Result = Verdict | ToldBefore | NotServed
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """How the pushes of one reply went, by the device's id."""

    results: Mapping[str, Result]

    def of(self, kind: type[T]) -> list[T]:
        """The results of one kind."""
        return [result for result in self.results.values() if isinstance(result, kind)]

    def raise_for_owed(self) -> None:
        """Raises ``PushesOwed`` if a phone is still to be told, which the same call may do later."""
        if owed := self.of(Later):
            raise PushesOwed(", ".join(sorted({later.reason for later in owed})))


async def retry_later(step: Callable[[], Awaitable[T]], first_pause_s: float, until_s: float) -> T:
    """Return the first result of `step` that is not ``Later``, or the last one that there is time for.

    The pauses grow from `first_pause_s` on, and are never shorter than the service asks for. `until_s` is by the clock
    of the event loop.
    """
    pause_s = first_pause_s
    while isinstance(result := await step(), Later):
        wait_s = max(pause_s, result.after_s or 0.0)
        if asyncio.get_running_loop().time() + wait_s > until_s:
            break
        await asyncio.sleep(wait_s)
        pause_s *= GROWTH
    return result


class Notifier:
    """Knows who is to be told, and by which service. Where `previews` is off, no word of a reply leaves the relay."""

    def __init__(
        self,
        devices: Devices,
        pushes: Pushes,
        services: Mapping[Platform, Service],
        *,
        previews: bool,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self._devices = devices
        self._pushes = pushes
        self._services = services
        self._previews = previews
        self._first_pause_s = first_pause_s

    async def notify(
        self, user: str, notification: Notification, acknowledged: Collection[str], budget_s: float
    ) -> Outcome:
        """Tells all the user's phones but those in `acknowledged`, by id, within `budget_s`.

        Another call with the same arguments tells those that this one could not. What the table or a secret raises
        comes out when all the other phones are told.
        """
        until_s = asyncio.get_running_loop().time() + budget_s
        shown = notification if self._previews else replace(notification, text="")
        devices = await asyncio.to_thread(self._devices.all, user)
        waiting = [device for device in devices if device.id not in acknowledged]
        pushes = [self._push(device, shown, until_s) for device in waiting]
        results: dict[str, Result] = {}
        for device, result in zip(waiting, await asyncio.gather(*pushes, return_exceptions=True), strict=True):
            if isinstance(result, BaseException):
                raise result
            results[device.id] = result
        return Outcome(results)

    async def _push(self, device: Device, notification: Notification, until_s: float) -> Result:
        service = self._services.get(device.platform)
        if service is None:
            return NotServed(device.platform)
        kept = await retry_later(lambda: self._claim(device, notification, until_s), self._first_pause_s, until_s)
        if kept is not None:
            return kept
        verdict = await retry_later(lambda: _send(service, device, notification, until_s), self._first_pause_s, until_s)
        if not isinstance(verdict, Later):
            await asyncio.to_thread(self._settle, device, notification, verdict)
        return verdict

    async def _claim(self, device: Device, notification: Notification, until_s: float) -> Later | ToldBefore | None:
        """None if the push is ours. A claim that we cannot settle runs out by itself, and the next call may try."""
        lasting_s = until_s - asyncio.get_running_loop().time() + SETTLING_S
        match await asyncio.to_thread(self._pushes.claim, notification.reply, device.id, lasting_s):
            case Claim.OURS:
                return None
            case Claim.FINISHED:
                return ToldBefore()
            case Claim.ANOTHERS:
                return Later("another call is at it")

    def _settle(self, device: Device, notification: Notification, verdict: Verdict) -> None:
        self._pushes.finish(notification.reply, device.id)
        if isinstance(verdict, Dead):
            self._devices.forget(device, verdict.before_ms)
        if isinstance(verdict, Delivered) and verdict.environment is not device.environment:
            self._devices.found(device, verdict.environment)


async def _send(service: Service, device: Device, notification: Notification, until_s: float) -> Verdict:
    try:
        async with asyncio.timeout_at(until_s):
            return await service.send(device, notification)
    except TimeoutError:
        return Later("no time left")
