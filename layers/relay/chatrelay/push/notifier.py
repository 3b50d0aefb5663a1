"""Notifications of a reply: one push to each of a user's phones, however often the call is repeated."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from chatrelay.domain.devices import Device, Platform
from chatrelay.domain.errors import PushesPending
from chatrelay.push.service import Dead, Delivered, Later, Notification, Service, Verdict
from chatrelay.store.devices import Devices
from chatrelay.store.pushes import Claim, Pushes

FIRST_PAUSE_S = 1.0
GROWTH = 2.0
RECORDING_S = 5.0
"""How much longer than its push a claim lasts: the time that it takes to record the verdict."""


@dataclass(frozen=True)
class PushedBefore:
    """A phone whose push an earlier call has finished."""


@dataclass(frozen=True)
class NotServed:
    """A phone of a platform to which this deployment sends no pushes."""

    platform: Platform


Result = Verdict | PushedBefore | NotServed
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """The results of one reply's pushes, by the device's id."""

    results: Mapping[str, Result]

    def of(self, kind: type[T]) -> list[T]:
        """Return the results of one kind."""
        return [result for result in self.results.values() if isinstance(result, kind)]

    def raise_for_pending(self) -> None:
        """Raise ``PushesPending`` if the same call may reach another phone later."""
        if pending := self.of(Later):
            raise PushesPending(", ".join(sorted({later.reason for later in pending})))


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
    """The pushes of replies, by one service a platform. Without `previews`, no word of a reply leaves the relay."""

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
        """Push to all the user's phones but those in `acknowledged`, by id, within `budget_s`.

        The same call, repeated, reaches the phones that this call could not. An exception of the table or of a secret
        comes out after all the other phones are served.
        """
        until_s = asyncio.get_running_loop().time() + budget_s
        shown = notification if self._previews else replace(notification, text="")
        devices = await asyncio.to_thread(self._devices.reachable, user)
        waiting = [device for device in devices if device.id not in acknowledged]
        pushes = [self._push(device, shown, until_s) for device in waiting]
        # One phone's failure must not keep the others from their push.
        results: dict[str, Result] = {}
        for device, result in zip(waiting, await asyncio.gather(*pushes, return_exceptions=True), strict=True):
            if isinstance(result, BaseException):
                raise result
            results[device.id] = result
        return Outcome(results)

    async def _push(self, device: Device, notification: Notification, until_s: float) -> Result:
        service = self._services.get(device.platform)
        if service is None:  # nothing is claimed: whoever deploys without a key has chosen so
            return NotServed(device.platform)
        not_ours = await retry_later(lambda: self._claim(device, notification, until_s), self._first_pause_s, until_s)
        if not_ours is not None:
            return not_ours

        async def send() -> Verdict:
            try:
                async with asyncio.timeout_at(until_s):  # before the function's deadline, which would cut every push
                    return await service.send(device, notification)
            except TimeoutError:
                return Later("no time left")

        verdict = await retry_later(send, self._first_pause_s, until_s)
        # Without a final verdict the claim runs out, before Lambda repeats the call.
        if not isinstance(verdict, Later):
            await asyncio.to_thread(self._finish, device, notification, verdict)
        return verdict

    async def _claim(self, device: Device, notification: Notification, until_s: float) -> Later | PushedBefore | None:
        """Return None if the push is ours. A claim that is never finished runs out, and the next call may try."""
        lasting_s = until_s - asyncio.get_running_loop().time() + RECORDING_S
        match await asyncio.to_thread(self._pushes.claim, notification.reply, device.id, lasting_s):
            case Claim.OURS:
                return None
            case Claim.FINISHED:
                return PushedBefore()
            case Claim.ANOTHERS:
                return Later("another call has claimed this push")

    def _finish(self, device: Device, notification: Notification, verdict: Verdict) -> None:
        """Record a final verdict, and what it says about the device."""
        self._pushes.finish(notification.reply, device.id)
        if isinstance(verdict, Dead):
            self._devices.forget(device, verdict.before_ms)
        if isinstance(verdict, Delivered) and verdict.environment is not device.environment:
            self._devices.found(device, verdict.environment)
