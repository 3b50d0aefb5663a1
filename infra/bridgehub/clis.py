"""The command lines behind the sidecar: how each is called, and which of its lines are the answer. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

PREFIX = b"JARVIS_PAYLOAD="
PARAGRAPH = "\n\n"
"""Between two messages of one answer."""

ARGUMENT_BYTES = 128 * 1024 - 1
"""Linux takes no longer argument. Source: execve(2), MAX_ARG_STRLEN."""
NO_JSON = (ValueError, RecursionError)


class Failed(Exception):
    """An answer breaks off. The text is a sentence for a person."""


class TooLong(ValueError):
    """A request that the command line cannot be called with."""


@dataclass(frozen=True)
class Asked:
    """A request of BridgeHub's version 1.0: `raw` as it came, and what is in it. `context` has titles and contents."""

    raw: str
    directory: str
    message: str
    context: Sequence[tuple[str, str]]


def parse(body: bytes) -> Asked:
    """What is asked. Raises ``ValueError`` for anything but such a request in UTF-8."""
    raw = body.decode()
    match json.loads(raw):
        case {
            "version": "bridgehub/1.0",
            "capsule": str(directory),
            "session": str(),
            "payload": {"message": str(message), "context": [*context]},
        }:
            return Asked(raw, directory, message, [_note(note) for note in context])
    raise ValueError("no request of bridgehub/1.0")


def _note(note: object) -> tuple[str, str]:
    match note:
        case {"title": str(title), "content": str(content)}:
            return title, content
    raise ValueError("no context of bridgehub/1.0")


@dataclass(frozen=True)
class Command:
    """What is run, without a shell, and what it reads from its standard input."""

    arguments: Sequence[str]
    stdin: bytes = b""


class Reader(Protocol):
    """Finds the answer in the lines of one call's standard output."""

    def read(self, line: bytes) -> str:
        """The next text, if `line` has any: everything else is log. Raises ``Failed``."""
        ...

    def end(self) -> dict[str, int]:
        """What was used, as far as it is known, after the last line. Raises ``Failed`` if there was no answer."""
        ...


class Cli(Protocol):
    """A command line that answers."""

    @property
    def name(self) -> str: ...

    def command(self, asked: Asked) -> Command:
        """What is run to answer. Raises ``TooLong``."""
        ...

    def reader(self) -> Reader: ...


@dataclass(frozen=True)
class BridgeHub:
    """BridgeHub's `script`, which Node runs."""

    script: Path
    name: ClassVar[str] = "BridgeHub"

    def command(self, asked: Asked) -> Command:
        if len(asked.raw.encode()) > ARGUMENT_BYTES:
            raise TooLong(f"{self.name} takes at most {ARGUMENT_BYTES} bytes of request.")
        return Command(["node", str(self.script), "--request", asked.raw])

    def reader(self) -> "PayloadReader":
        return PayloadReader()


class PayloadReader:
    """Reads what BridgeHub prints: the payload is on a line of its own, whole, among lines of log."""

    def __init__(self) -> None:
        self._answered = False

    def read(self, line: bytes) -> str:
        if not line.startswith(PREFIX):
            return ""
        text = _output(line.removeprefix(PREFIX))
        text, self._answered = PARAGRAPH + text if self._answered else text, True
        return text

    def end(self) -> dict[str, int]:
        if not self._answered:
            raise Failed("BridgeHub ended without an answer.")
        return {}


def _output(payload: bytes) -> str:
    match _parsed(payload):
        case {"ok": True, "data": {"output": str(output)}} if output:
            return output
        case {"ok": True, "summary": str(summary)} if summary:
            return summary
        case {"ok": False, "reason": str(reason)}:
            raise Failed(f"BridgeHub could not answer: {reason}")
    raise Failed("BridgeHub gave something that is no answer.")


@dataclass(frozen=True)
class Codex:
    """``codex exec --json`` itself, whose executable is `program`."""

    program: str
    name: ClassVar[str] = "Codex"

    def command(self, asked: Asked) -> Command:
        """The prompt goes in by standard input: an argument has a limit."""
        prompt = PARAGRAPH.join([*(f"{title}:\n{content}" for title, content in asked.context), asked.message])
        return Command([self.program, "exec", "--json", "--cd", asked.directory, "-"], prompt.encode())

    def reader(self) -> "EventReader":
        return EventReader()


class EventReader:
    """Reads the events of ``codex exec --json``, one a line. Source: exec_events.rs in github.com/openai/codex.

    A message comes whole when it is complete, or before that as its beginning. An ``error`` may be a connection that is
    tried again: only ``turn.failed`` is the end.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._usage: dict[str, int] | None = None

    def read(self, line: bytes) -> str:
        match _parsed(line):
            case {"type": str(), "item": {"type": "agent_message", "id": str(item), "text": str(text)}}:
                return self._beyond(item, text)
            case {"type": "turn.completed", **more}:
                self._usage = _usage(more.get("usage"))
            case {"type": "turn.failed", "error": {"message": str(reason)}}:
                raise Failed(f"Codex could not answer: {reason}")
        return ""

    def end(self) -> dict[str, int]:
        if self._usage is None:
            raise Failed("Codex ended without an answer.")
        return self._usage

    def _beyond(self, item: str, text: str) -> str:
        """What of the message `item` was not read before."""
        known = self._texts.get(item, "")
        new = text[len(known) :]
        if new and not known and any(self._texts.values()):
            new = PARAGRAPH + new
        self._texts[item] = text
        return new


def _usage(told: object) -> dict[str, int]:
    """In the relay's terms: what was read from the cache is no part of ``input_tokens``."""
    counts = told if isinstance(told, dict) else {}
    read, known, written = (counts.get(name) for name in ("input_tokens", "cached_input_tokens", "output_tokens"))
    if not (type(read) is type(known) is type(written) is int and 0 <= known <= read and written >= 0):
        return {}
    return {"input_tokens": read - known, "output_tokens": written, "cache_read_input_tokens": known}


def _parsed(text: bytes) -> Any:
    """None for what is no JSON."""
    try:
        return json.loads(text)
    except NO_JSON:
        return None
