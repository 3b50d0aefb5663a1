"""Execution environments: one process each, one event at a time, kept warm, killed when an event runs too long."""

import asyncio
import contextlib
import enum
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from emulator import log
from emulator.lambda_.runtime import Invocation, RuntimeApi
from emulator.limits import Limits
from emulator.printed import Sentence
from emulator.processes import die_with_parent
from emulator.template.functions import Function

T = TypeVar("T")
_LINE_BYTES = 1024 * 1024  # asyncio's own limit for a line is 64 KiB


class Throttled(Exception):
    """The function handles as many events as its reserved concurrency allows, or the gateway is ending."""


class _Exited(Exception):
    """The worker process ended by itself."""

    def __init__(self, return_code: int) -> None:
        if return_code >= 0:
            super().__init__(f"exit status {return_code}")
        elif return_code == -signal.SIGKILL:
            super().__init__("signal: killed")
        else:
            super().__init__(f"signal: {signal.strsignal(-return_code) or -return_code}")


@dataclass(frozen=True)
class Outcome:
    """How an invocation ended. `payload` is JSON; `error` is None or what X-Amz-Function-Error says."""

    payload: bytes
    version: str
    error: str | None = None

    def error_document(self) -> dict[str, Any]:
        """Return `{"errorType", "errorMessage", ...}`, empty when nothing failed."""
        document = json.loads(self.payload) if self.error else {}
        return document if isinstance(document, dict) else {}


def failed(version: str, kind: str, message: str) -> Outcome:
    """Return what Lambda says of a function that did not answer itself."""
    return Outcome(json.dumps({"errorType": kind, "errorMessage": message}).encode(), version, "Unhandled")


class State(enum.Enum):
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ENDED = "ended"


_MOVES = {
    State.STARTING: {State.IDLE, State.ENDED},
    State.IDLE: {State.BUSY, State.ENDED},
    State.BUSY: {State.IDLE, State.ENDED},
    State.ENDED: {State.ENDED},  # a cancelled event and the end of the pool may both end it
}


class Environment:
    """One worker process under AWS's runtime client. `variables`: its whole environment, but for the address."""

    def __init__(
        self, function: Function, version: str, variables: Mapping[str, str], limits: Limits, sentence: Sentence
    ) -> None:
        self.function = function
        self.version = version
        self.state = State.STARTING
        self.variables = dict(variables)
        self._limits = limits
        self._sentence = sentence
        self._runtime = RuntimeApi(limits)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def usable(self) -> bool:
        # A worker may also have died since its last event.
        return self.state is State.IDLE and self._process is not None and self._process.returncode is None

    async def start(self, request_id: str) -> Outcome | None:
        """Start the process and wait until it asks for an event. Return the failure if it does not get there."""
        await self._runtime.start()
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "awslambdaric",
                self.function.handler,
                cwd=self.function.code,
                env={**self.variables, "AWS_LAMBDA_RUNTIME_API": self._runtime.address},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                limit=_LINE_BYTES,
                # A group of its own: signals reach whatever it has started, and Ctrl-C does not reach it.
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        except (OSError, ValueError) as error:  # Its folder has gone, or a variable is none that a process can have.
            return self._failed("Runtime.InvalidEntrypoint", f"RequestId: {request_id} Error: {error}")
        if self.state is State.ENDED:  # It was stopped before it had a process.
            await self.stop()
        # It ends with the process, which closes its end of the pipe.
        self._output = asyncio.create_task(self.repeat(process.stdout))  # type: ignore[arg-type]  # it is a pipe
        timeout_s = self._limits.init_s + self.function.timeout_s
        return await self._attempt(request_id, self._until_ready(process, timeout_s), timeout_s)

    async def invoke(self, request_id: str, arn: str, payload: bytes, timeout_s: float) -> Outcome:
        """Have an event handled. What ends the worker meanwhile is the outcome, and never raised."""
        self._move(State.BUSY)
        deadline_ms = int((time.time() + timeout_s) * 1000)
        # As X-Ray's header has it, and not sampled: nothing is traced here.
        trace_id = f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()};Sampled=0"
        invocation = Invocation(request_id, arn, payload, deadline_ms, trace_id)
        return await self._attempt(request_id, self._until_answered(invocation, timeout_s), timeout_s)

    async def stop(self) -> None:
        self._move(State.ENDED)
        self._runtime.stop()
        self.kill()
        if self._process is not None:
            await self._process.wait()

    def kill(self) -> None:
        """End the process as if the machine had failed: its event, if it has one, fails with it."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it has started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # It has ended already.
                os.killpg(self._process.pid, number)

    async def _until_ready(self, process: asyncio.subprocess.Process, timeout_s: float) -> None:
        await _before_exit(process, self._runtime.ready.wait(), timeout_s)
        self._move(State.IDLE)

    async def _until_answered(self, invocation: Invocation, timeout_s: float) -> Outcome:
        assert self._process is not None  # noqa: S101
        answer = await _before_exit(self._process, self._runtime.handle(invocation), timeout_s)
        self._move(State.IDLE)
        if len(answer.payload) > self._limits.invoke_payload_bytes:
            reason = f"Response payload size exceeded maximum allowed payload size ({len(answer.payload)} bytes)."
            return self._failed("Function.ResponseSizeTooLarge", reason)
        return Outcome(answer.payload, self.version, "Unhandled" if answer.failed else None)

    async def _attempt(self, request_id: str, work: Coroutine[Any, Any, T], timeout_s: float) -> T | Outcome:
        """Put a worker's end into the words that Lambda has for it."""
        try:
            return await work
        except TimeoutError:
            reason = f"RequestId: {request_id} Error: Task timed out after {timeout_s:.2f} seconds"
            return self._failed("Sandbox.Timedout", reason)
        except _Exited as exited:
            if self._runtime.init_error is not None:  # The function's own words go before the exit status.
                return Outcome(self._runtime.init_error, self.version, "Unhandled")
            reason = f"RequestId: {request_id} Error: Runtime exited with error: {exited}"
            return self._failed("Runtime.ExitError", reason)

    async def repeat(self, output: asyncio.StreamReader) -> None:
        """Log what the process prints, until it closes its end."""
        while True:
            try:
                line = await output.readline()
            except ValueError:  # A line longer than the limit, which is given up.
                continue
            if not line:
                return
            log.output(self.function.name, line.decode(errors="replace").rstrip(), self._sentence)

    def _failed(self, kind: str, message: str) -> Outcome:
        return failed(self.version, kind, message)

    def _move(self, state: State) -> None:
        if state not in _MOVES[self.state]:
            raise RuntimeError(f"An environment cannot go from {self.state.value} to {state.value}.")
        self.state = state


class Supervisor:
    """An observer of workers, which may stop one at its work. This one lets them work."""

    def enter(self, worker: Environment) -> None:
        """Take note of a worker that is about to start, with its `variables`, which may still be changed."""

    async def invoke(self, worker: Environment, request_id: str, arn: str, payload: bytes) -> Outcome:
        """Have a worker handle an event."""
        return await worker.invoke(request_id, arn, payload, worker.function.timeout_s)

    def leave(self, worker: Environment) -> None:
        """Take note of a worker that ends."""


class Pool:
    """The environments of one function. `variables` gives the environment of a worker that runs a version.

    `sentence`: see `printed`.
    """

    def __init__(
        self,
        function: Function,
        variables: Callable[[str], Mapping[str, str]],
        limits: Limits,
        sentence: Sentence,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.function = function
        self._variables = variables
        self._limits = limits
        self._sentence = sentence
        self._supervisor = supervisor or Supervisor()
        self._slots = asyncio.Semaphore(limits.max_environments)
        self._running = 0
        self._ending = False
        self._idle: list[Environment] = []
        self._current: set[Environment] = set()
        self._outdated: set[Environment] = set()

    async def run(self, version: str, request_id: str, arn: str, payload: bytes) -> Outcome:
        """Have one event handled, by a warm environment if one is idle. Raise Throttled."""
        if self.function.refusal:
            return failed(version, "NotServed", self.function.refusal)
        reserved = self.function.reserved_concurrency
        if self._ending or (reserved is not None and self._running >= reserved):
            raise Throttled(self.function.name)
        # Before there is a slot: reserved concurrency is AWS's limit, and slots are this machine's.
        self._running += 1
        try:
            async with self._slots:
                return await self._run(version, request_id, arn, payload)
        finally:
            self._running -= 1

    async def reload(self) -> None:
        """Let only environments that start from now on take events."""
        idle, self._idle = self._idle, []
        self._outdated |= self._current
        await asyncio.gather(*map(self._end, idle))

    async def stop(self) -> None:
        """Kill every worker and start none again."""
        self._ending = True
        await asyncio.gather(*map(self._end, list(self._current)))

    async def _run(self, version: str, request_id: str, arn: str, payload: bytes) -> Outcome:
        began = time.monotonic()
        environment = self._warm(version)
        cold, failure = environment is None, None
        if environment is None:
            variables = self._variables(version)
            environment = Environment(self.function, version, variables, self._limits, self._sentence)
            self._supervisor.enter(environment)
            self._current.add(environment)
        try:
            if cold:
                failure = await environment.start(request_id)
            outcome = failure or await self._supervisor.invoke(environment, request_id, arn, payload)
        except BaseException:  # Whoever waited was cancelled, too: a worker at an event is of no use to another one.
            await self._end(environment)
            raise
        if environment.usable and environment not in self._outdated:
            self._idle.append(environment)
        else:
            await self._end(environment)
        error = outcome.error_document()
        said = f"{error.get('errorType', 'error')}: {error.get('errorMessage', '')}" if outcome.error else ""
        log.invocation(self.function.name, time.monotonic() - began, said, cold=cold)
        return outcome

    def _warm(self, version: str) -> Environment | None:
        """Return an idle environment that runs `version`, the one used last; None if there is none."""
        for environment in reversed(self._idle):
            if environment.version == version and environment.usable:
                self._idle.remove(environment)
                return environment
        return None

    async def _end(self, environment: Environment) -> None:
        self._current.discard(environment)
        self._outdated.discard(environment)
        self._supervisor.leave(environment)
        await environment.stop()


async def _before_exit(process: asyncio.subprocess.Process, work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    """Wait for `work`. Raise TimeoutError after `timeout_s`, _Exited if the process ends first."""
    working, ended = asyncio.ensure_future(work), asyncio.ensure_future(process.wait())
    try:
        done, _ = await asyncio.wait({working, ended}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        # First of the two: an answer counts, though the process ended in the same moment.
        if working in done:
            return working.result()
        if ended in done:
            raise _Exited(ended.result())
        raise TimeoutError
    finally:
        working.cancel()
        ended.cancel()
