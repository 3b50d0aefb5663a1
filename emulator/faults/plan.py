"""A fault plan: what goes wrong in the emulator, and when. Plain values; `injection` applies them.

A plan is JSON or YAML. Sections hold lists of faults; each fault names what to `do`, which occurrences it takes, and
its own settings:

    seed: 7
    posts:                                             # through @connections, counted per connection
      - {do: drop, nth: 2}                             # answers 200, delivers nothing
      - {do: delay, every: 3, seconds: [0.1, 0.5]}     # waits, then delivers and answers
      - {do: repeat, probability: 0.1}                 # delivers twice
      - {do: reorder, nth: [4, 9]}                     # holds it back until the next went out, `seconds` (1) at most
      - {do: refuse, nth: 1, status: 410}              # 410, 429 or 500; the connection stays open
      - {do: lose_answer, nth: 5, seconds: 4}          # delivers, is silent, then answers `status` (500)
    sockets:                                           # counted in the order in which they are met
      - {do: close, posts: 3, code: 1001}              # when its third post went out
      - {do: close, seconds: [1, 9], abort: true}      # TCP reset that long after it opened
      - {do: close, posts: 1, lose_disconnect: true}   # and $disconnect is never sent
      - {do: lose_disconnect, every: 2}                # of clients that leave by themselves
    events:                                            # asynchronous invocations, counted per function
      - {do: repeat, function: Worker, seconds: 2}     # again after that long (0), with the same request id
      - {do: delay, nth: 1, seconds: 3}                # late; its age counts from when it was accepted
    workers:                                           # counted per function
      - {do: kill_at_call, function: Worker, operation: UpdateItem, nth: 5, moment: after}  # or before it took effect
      - {do: pause_at_call, operation: PostToConnection, nth: 2, moment: before, seconds: 20}  # frozen, then goes on
      - {do: kill_after, function: Worker, nth: 1, seconds: 0.5}  # SIGKILL, that long after an invocation began
      - {do: shorten, function: Worker, nth: 2, seconds: 40}  # its deadline is that long after it began, at the latest
    calls:                                             # of functions to AWS services, counted per function
      - {do: throttle, operation: [PutItem, Query], probability: 0.2}  # ProvisionedThroughputExceededException
      - {do: conflict, nth: 1}                         # TransactWriteItems: cancelled, TransactionConflict
      - {do: silence, nth: 3, takes_effect: true}      # no answer for `seconds` (60)
      - {do: delay, operation: GetItem, seconds: 0.2}

Which occurrences: one of `nth` (a number or a list), `every` (each k-th) and `probability`; all of them without one.
`times`: at most so often in all. Only what fits the filters is counted: `contains` (a text or several, all of them in
the post, the event or the call's body), `stage` and `connection` (posts, sockets), `function` (its logical id, or its
name with or without the stack's), `operation` (as AWS's API calls it; a worker may be stopped at the gateway's own too:
PostToConnection, DeleteConnection, GetConnection, Invoke). `connection` is an id, or a number: 1 is the first
connection that the plan met, by its opening or by a post to it. One that it never met, it leaves alone.
Where seconds or posts are a pair, the seed draws a value between them.

Delays of one occurrence add up; of all else that hits it the first counts, and the others do not happen. A retry by an
SDK is an occurrence of its own. What happens hangs on the seed, the place in the plan, the connection's number or the
function, and the count there, on nothing else: not on time, nor on what other connections do. The same calls meet the
same faults.

With `--faults` (`{}` is an empty plan), `/_faults` is served: `POST` puts a plan (`Content-Type: application/json`, or
`application/yaml`) in the place of the running one, with new counts; `DELETE` ends it; `GET` gives how often each fault
was `chosen` and `applied`: a close or a kill that was to come later may have come too late. What a replaced plan still
held up goes on at once.
"""

# ruff: noqa: RUF009 -- `_setting` gives a dataclass field, not a shared default

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from random import Random
from typing import Any, ClassVar

import yaml  # type: ignore[import-untyped]

GATEWAY_OPERATIONS = ("PostToConnection", "DeleteConnection", "GetConnection", "Invoke")
"""Calls of workers that the gateway itself answers."""


class PlanError(ValueError):
    """The plan cannot be used. The message names the field."""


@dataclass(frozen=True)
class Span:
    """A number between two, or one that is certain."""

    low: float
    high: float

    def draw(self, random: Random) -> float:
        return self.low if self.low == self.high else random.uniform(self.low, self.high)

    def draw_whole(self, random: Random) -> int:
        return random.randint(int(self.low), int(self.high))


# --- what a field may hold; each raises ValueError that says what it wants ---


def _number(value: Any) -> float:
    # To Python, true is the number 1.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise ValueError("wants a number that is not negative")
    return float(value)


def _probability(value: Any) -> float:
    if _number(value) > 1:
        raise ValueError("wants a number from 0 to 1")
    return float(value)


def _ordinal(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("wants a whole number from 1")
    return value


def _ordinals(value: Any) -> tuple[int, ...]:
    return tuple(map(_ordinal, value if isinstance(value, list) else [value]))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("wants a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, value if isinstance(value, list) else [value]))


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("wants true or false")
    return value


def _connection(value: Any) -> int | str:
    return value if isinstance(value, str) else _ordinal(value)


def _pair(of: Callable[[Any], float]) -> Callable[[Any], Span]:
    def read(value: Any) -> Span:
        numbers = [of(each) for each in (value if isinstance(value, list) else [value])]
        if not 1 <= len(numbers) <= 2 or numbers[0] > numbers[-1]:
            raise ValueError("wants a number, or a pair of which the first is not greater")
        return Span(numbers[0], numbers[-1])

    return read


def _one_of(*allowed: Any) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError(f"wants one of {', '.join(map(str, allowed))}")
        return value

    return read


def _close_code(value: Any) -> int:
    # 1004 to 1006 and 1015 are in no close frame. Source: RFC 6455, 7.4, and the IANA registry.
    if isinstance(value, bool) or not (value in {*range(1000, 1004), *range(1007, 1015)} or value in range(3000, 5000)):
        raise ValueError("wants a code that a close frame may carry, as 1001 or 4000")
    return int(value)


def _setting(read: Callable[[Any], Any], default: Any = MISSING) -> Any:
    """Return a field of a fault; one without a default has to be given."""
    return field(default=default, metadata={"read": read})


# --- the faults ---


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong at some of its occurrences. `do` is its name in a plan."""

    do: ClassVar[str]
    nth: tuple[int, ...] = _setting(_ordinals, ())
    every: int | None = _setting(_ordinal, None)
    probability: float | None = _setting(_probability, None)
    times: int | None = _setting(_ordinal, None)

    def __post_init__(self) -> None:
        if sum((bool(self.nth), self.every is not None, self.probability is not None)) > 1:
            raise PlanError("wants at most one of nth, every and probability")

    def takes(self, count: int, random: Random) -> bool:
        """Whether this fault hits the `count`-th occurrence."""
        if self.nth:
            return count in self.nth
        if self.every is not None:
            return count % self.every == 0
        return self.probability is None or random.random() < self.probability


@dataclass(frozen=True, kw_only=True)
class Timed(Fault):
    seconds: Span = _setting(_pair(_number))


@dataclass(frozen=True, kw_only=True)
class OfText(Fault):
    contains: tuple[str, ...] = _setting(_texts, ())

    def is_in(self, text: str) -> bool:
        return all(each in text for each in self.contains)


@dataclass(frozen=True, kw_only=True)
class OfConnection(Fault):
    stage: str | None = _setting(_text, None)
    connection: int | str | None = _setting(_connection, None)

    def concerns(self, stage: str, connection_id: str, number: int) -> bool:
        return self.stage in (None, stage) and self.connection in (None, connection_id, number)


@dataclass(frozen=True, kw_only=True)
class OfPost(OfConnection, OfText):
    pass


class DropPost(OfPost):
    do = "drop"


@dataclass(frozen=True, kw_only=True)
class DelayPost(OfPost, Timed):
    do = "delay"


class RepeatPost(OfPost):
    do = "repeat"


@dataclass(frozen=True, kw_only=True)
class ReorderPost(OfPost, Timed):
    do = "reorder"
    seconds: Span = _setting(_pair(_number), Span(1, 1))


@dataclass(frozen=True, kw_only=True)
class RefusePost(OfPost):
    do = "refuse"
    status: int = _setting(_one_of(410, 429, 500))


@dataclass(frozen=True, kw_only=True)
class LoseAnswer(OfPost, Timed):
    do = "lose_answer"
    seconds: Span = _setting(_pair(_number), Span(0, 0))
    status: int = _setting(_one_of(410, 429, 500), 500)


@dataclass(frozen=True, kw_only=True)
class CloseSocket(OfConnection):
    do = "close"
    posts: Span | None = _setting(_pair(_ordinal), None)
    seconds: Span | None = _setting(_pair(_number), None)
    code: int = _setting(_close_code, 1001)
    abort: bool = _setting(_flag, default=False)
    lose_disconnect: bool = _setting(_flag, default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.posts is None) == (self.seconds is None):
            raise PlanError("wants either posts or seconds")


class LoseDisconnect(OfConnection):
    do = "lose_disconnect"


@dataclass(frozen=True, kw_only=True)
class OfFunction(OfText):
    function: str | None = _setting(_text, None)

    def concerns(self, function: str, logical_id: str, text: str) -> bool:
        names = (None, function, logical_id)
        named = self.function in names or function.endswith(f"-{self.function}")
        return named and self.is_in(text)


@dataclass(frozen=True, kw_only=True)
class RepeatEvent(OfFunction, Timed):
    do = "repeat"
    seconds: Span = _setting(_pair(_number), Span(0, 0))


@dataclass(frozen=True, kw_only=True)
class DelayEvent(OfFunction, Timed):
    do = "delay"


@dataclass(frozen=True, kw_only=True)
class OfInvocation(OfFunction, Timed):
    """A fault of an invocation, from whose beginning its seconds count."""


class KillAfter(OfInvocation):
    do = "kill_after"


class Shorten(OfInvocation):
    do = "shorten"


@dataclass(frozen=True, kw_only=True)
class OfCall(OfFunction):
    """A fault of a call. `operation`: as the API calls it; of services the end of X-Amz-Target, if they have that."""

    operation: tuple[str, ...] = _setting(_texts, ())

    def is_about(self, operation: str) -> bool:
        return not self.operation or operation in self.operation


@dataclass(frozen=True, kw_only=True)
class AtCall(OfCall):
    """A fault at a `moment` of a call: before or after it takes effect."""

    moment: str = _setting(_one_of("before", "after"))


class KillAtCall(AtCall):
    do = "kill_at_call"


@dataclass(frozen=True, kw_only=True)
class PauseAtCall(AtCall, Timed):
    do = "pause_at_call"


class OfServiceCall(OfCall):
    """A fault of calls to the services behind the functions: the gateway's own calls have sections of their own."""

    def is_about(self, operation: str) -> bool:
        return operation not in GATEWAY_OPERATIONS and super().is_about(operation)


class Throttle(OfServiceCall):
    do = "throttle"


class Conflict(OfServiceCall):
    do = "conflict"

    def is_about(self, operation: str) -> bool:
        return operation == "TransactWriteItems" and super().is_about(operation)


@dataclass(frozen=True, kw_only=True)
class Silence(OfServiceCall, Timed):
    do = "silence"
    seconds: Span = _setting(_pair(_number), Span(60, 60))
    takes_effect: bool = _setting(_flag, default=False)


@dataclass(frozen=True, kw_only=True)
class DelayCall(OfServiceCall, Timed):
    do = "delay"


# --- the plan ---

_SECTIONS: Mapping[str, tuple[type[Fault], ...]] = {
    "posts": (DropPost, DelayPost, RepeatPost, ReorderPost, RefusePost, LoseAnswer),
    "sockets": (CloseSocket, LoseDisconnect),
    "events": (RepeatEvent, DelayEvent),
    "workers": (KillAtCall, PauseAtCall, KillAfter, Shorten),
    "calls": (Throttle, Conflict, Silence, DelayCall),
}


@dataclass(frozen=True)
class Plan:
    """A fault plan: `faults` by their place in what is written, as `posts[0]`, in the order of its sections."""

    seed: int = 0
    faults: Mapping[str, Fault] = field(default_factory=dict)


def read(text: str) -> Plan:
    """Read a plan from JSON or YAML. Raise PlanError."""
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise PlanError(f"The fault plan is neither JSON nor YAML: {error}") from error
    return parse({} if document is None else document)


def parse(document: Any) -> Plan:
    """Return the plan that a document describes. Raise PlanError that names the field."""
    if not isinstance(document, dict):
        raise PlanError("A fault plan is an object with a seed and sections.")
    unknown = [str(key) for key in document if key not in ("seed", *_SECTIONS)]
    if unknown:
        raise PlanError(f"{unknown[0]}: no such section. There are: seed, {', '.join(_SECTIONS)}")
    seed = document.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise PlanError("seed: wants a whole number")
    return Plan(seed, dict(_faults(document)))


def _faults(document: Mapping[str, Any]) -> Iterator[tuple[str, Fault]]:
    for section, kinds in _SECTIONS.items():
        written = document.get(section, [])
        if not isinstance(written, list):
            raise PlanError(f"{section}: wants a list")
        by_name = {kind.do: kind for kind in kinds}
        for index, each in enumerate(written):
            place = f"{section}[{index}]"
            if not isinstance(each, dict):
                raise PlanError(f"{place}: wants an object")
            settings = dict(each)
            do = settings.pop("do", None)
            if not isinstance(do, str) or do not in by_name:
                raise PlanError(f"{place}.do: wants one of {', '.join(by_name)}")
            values = dict(_settings(place, settings, by_name[do]))
            try:
                fault = by_name[do](**values)
            except PlanError as error:
                raise PlanError(f"{place}: {error}") from error
            yield place, fault


def _settings(place: str, written: Mapping[str, Any], kind: type[Fault]) -> Iterator[tuple[str, Any]]:
    known = {each.name: each for each in fields(kind)}
    for name in written:
        if name not in known:
            raise PlanError(f"{place}.{name}: {kind.do} has no such field. There are: {', '.join(known)}")
    for name, each in known.items():
        if name in written:
            try:
                value = each.metadata["read"](written[name])
            except (ValueError, TypeError) as error:
                raise PlanError(f"{place}.{name}: {error}, not {written[name]!r}") from error
            yield name, value
        elif each.default is MISSING:
            raise PlanError(f"{place}.{name}: is missing")
