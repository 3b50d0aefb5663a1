"""Which faults of a plan hit what passes. No clock, no I/O: the same sequence of calls gives the same answers."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import TypeVar

from emulator.faults import plan as faults
from emulator.faults.plan import Fault, Plan

F = TypeVar("F", bound=Fault)


@dataclass(frozen=True)
class Hit:
    """One fault at one occurrence, `place` in its plan. `seconds` are the fault's own, 0 if it has none."""

    place: str
    fault: Fault
    seconds: float
    occurrence: str


@dataclass(frozen=True)
class End:
    """How a connection shall end: after so many posts, or so many seconds after it opened."""

    place: str
    fault: faults.CloseSocket
    posts: int | None
    seconds: float | None


@dataclass(frozen=True)
class Fate:
    """What becomes of an occurrence: a wait of `delay_s`, then `fault` for `seconds`, then the connection's `end`."""

    delay_s: float = 0.0
    fault: Fault | None = None
    seconds: float = 0.0
    end: End | None = None


class Decisions:
    """One plan's course. `tell` gets a line for every fault that is chosen.

    `logical_ids` are the functions', by name.
    """

    def __init__(
        self, plan: Plan, tell: Callable[[str], None], logical_ids: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.plan = plan
        self._tell = tell
        self._logical_ids = logical_ids
        self._counts: Counter[tuple[str, str]] = Counter()
        self._chosen: Counter[str] = Counter()
        self._applied: Counter[str] = Counter()
        self._numbers: dict[str, int] = {}
        self._ends: dict[str, End] = {}
        self._posts: Counter[str] = Counter()

    def report(self) -> Mapping[str, object]:
        """Return the seed, and what each fault has done so far."""
        done = [
            {"place": place, "do": fault.do, "chosen": self._chosen[place], "applied": self._applied[place]}
            for place, fault in self.plan.faults.items()
        ]
        return {"seed": self.plan.seed, "faults": done}

    def applied(self, place: str) -> None:
        """Count a fault that was chosen before and has happened now."""
        self._applied[place] += 1

    def meet(self, connection_id: str, stage: str) -> End | None:
        """Return how a connection shall end, which is decided when it is met for the first time."""
        if connection_id in self._numbers:
            return self._ends.get(connection_id)
        number = self._numbers[connection_id] = len(self._numbers) + 1
        # All of them count this connection, though it ends by the first that hits it.
        hits = [
            (fault, hit)
            for place, fault in self._of(faults.CloseSocket)
            if fault.concerns(stage, connection_id, number)
            for hit in self._count(place, fault, "the sockets", f"connection {number}")
        ]
        if not hits:
            return None
        fault, hit = hits[0]
        self._choose(hit)
        random = self._random(hit.place, "end", hit.occurrence)
        posts = fault.posts.draw_whole(random) if fault.posts else None
        seconds = fault.seconds.draw(random) if fault.seconds else None
        end = self._ends[connection_id] = End(hit.place, fault, posts, seconds)
        return end

    def post(self, connection_id: str, stage: str, text: str) -> Fate:
        end = self.meet(connection_id, stage)
        number = self._numbers[connection_id]
        self._posts[connection_id] += 1
        hits = [
            hit
            for place, fault in self._of(faults.OfPost)
            if fault.concerns(stage, connection_id, number) and fault.is_in(text)
            for hit in self._count(place, fault, f"connection {number}", "post")
        ]
        ends = end is not None and end.posts == self._posts[connection_id]
        return self._fate(hits, faults.DelayPost, end if ends else None)

    def loses_disconnect(self, connection_id: str, stage: str) -> bool:
        """Whether nobody shall hear that a client left by itself."""
        # A connection that this plan never met may be an earlier one's, and has no number.
        number = self._numbers.get(connection_id, 0)
        hits = [
            hit
            for place, fault in self._of(faults.LoseDisconnect)
            if fault.concerns(stage, connection_id, number) and (number or fault.connection == connection_id)
            for hit in self._count(place, fault, "the sockets", f"end (connection {number})")
        ]
        return self._fate(hits).fault is not None

    def event(self, function: str, payload: str) -> Fate:
        hits = [*self._at(faults.RepeatEvent, function, payload), *self._at(faults.DelayEvent, function, payload)]
        return self._fate(hits, faults.DelayEvent)

    def invocation(self, function: str, payload: str) -> Hit | None:
        """Return the fault that shall end the handling of an event; its caller says when it is `applied`."""
        hits = self._at(faults.OfInvocation, function, payload)
        return self._choose(hits[0]) if hits else None

    def call(self, function: str, operation: str, body: str) -> Fate:
        hits = [
            hit
            for place, fault in self._of(faults.OfCall)
            if fault.is_about(operation) and self._concerns(fault, function, body)
            for hit in self._count(place, fault, function, f"call of {operation}")
        ]
        return self._fate(hits, faults.DelayCall)

    def _at(self, kind: type[faults.OfFunction], function: str, payload: str) -> list[Hit]:
        what = "invocation" if kind is faults.OfInvocation else "event"
        return [
            hit
            for place, fault in self._of(kind)
            if self._concerns(fault, function, payload)
            for hit in self._count(place, fault, function, what)
        ]

    def _concerns(self, fault: faults.OfFunction, function: str, text: str) -> bool:
        return fault.concerns(function, self._logical_ids.get(function, function), text)

    def _of(self, kind: type[F]) -> Iterator[tuple[str, F]]:
        return ((place, fault) for place, fault in self.plan.faults.items() if isinstance(fault, kind))

    def _count(self, place: str, fault: Fault, scope: str, what: str) -> list[Hit]:
        """Count an occurrence. Return one hit, or none."""
        self._counts[place, scope] += 1
        count = self._counts[place, scope]
        spent = fault.times is not None and self._chosen[place] >= fault.times
        random = self._random(place, scope, count)
        if spent or not fault.takes(count, random):
            return []
        seconds = fault.seconds.draw(random) if isinstance(fault, faults.Timed) else 0.0
        return [Hit(place, fault, seconds, f"{what} {count} of {scope}")]

    def _random(self, *occurrence: object) -> Random:
        """Return a generator of an occurrence's own: what one connection does moves no draw of another's."""
        # A text, which seeds alike in every process: hashes of texts differ. Source: Python's random.seed.
        return Random(f"{self.plan.seed} {occurrence}")  # noqa: S311

    def _fate(self, hits: list[Hit], delays: type[Fault] | None = None, end: End | None = None) -> Fate:
        """Choose all delays, and the first of the other faults."""
        late = [hit for hit in hits if delays is not None and isinstance(hit.fault, delays)]
        others = [hit for hit in hits if hit not in late][:1]
        for hit in (*late, *others):
            self._choose(hit)
            self.applied(hit.place)
        delay_s = sum(hit.seconds for hit in late)
        return Fate(delay_s, others[0].fault, others[0].seconds, end) if others else Fate(delay_s, end=end)

    def _choose(self, hit: Hit) -> Hit:
        self._chosen[hit.place] += 1
        seconds = f", {hit.seconds:.3f} s" if hit.seconds else ""
        self._tell(f"{hit.place} {hit.fault.do}: {hit.occurrence}{seconds}")
        return hit
