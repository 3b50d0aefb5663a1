"""The command lines behind the sidecar: how each is called, and which of its lines are the answer. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

PREFIX = b"JARVIS_PAYLOAD="
PARAGRAPH = "\n\n"
"""Between two messages of one answer."""

ARGUMENT_BYTES = 128 * 1024 - 1  # Linux takes no longer argument. Source: execve(2), MAX_ARG_STRLEN
NO_JSON = (ValueError, RecursionError)

WORDS = 300  # characters of a command line's last words: enough for a sentence, no page of a log
COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Begins a line that follows the reason: of a stack, or Node's and Rust's last ones.
ASIDE = re.compile(r"\s|Node\.js v|note: run with")


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
    """Return what is asked. Raise ``ValueError`` for anything but such a request in UTF-8."""
    raw = body.decode()
    match json.loads(raw):
        case {
            "version": "bridgehub/1.0",
            "capsule": str(directory),
            "session": str(),
            "payload": {"message": str(message), "context": [*context]},
        }:
            notes = []
            for note in context:
                match note:
                    case {"title": str(title), "content": str(content)}:
                        notes.append((title, content))
                    case _:
                        raise ValueError("no context of bridgehub/1.0")
            return Asked(raw, directory, message, notes)
    raise ValueError("no request of bridgehub/1.0")


@dataclass(frozen=True)
class Command:
    """What is run, without a shell, and what it reads from its standard input."""

    arguments: Sequence[str]
    stdin: bytes = b""


class Reader(Protocol):
    """A reader of one call's standard output, which finds the answer in its lines."""

    @property
    def used(self) -> dict[str, int] | None:
        """The tokens, as far as they are known. None as long as there is no complete answer."""
        ...

    @property
    def trouble(self) -> str:
        """What the command line said last of a trouble that may not be the end; empty if nothing."""
        ...

    def read(self, line: bytes) -> str:
        """Return the next text, if `line` has any: everything else is log. Raise ``Failed``."""
        ...


class Cli(Protocol):
    """A command line that answers."""

    @property
    def name(self) -> str: ...

    @property
    def answers_once(self) -> bool:
        """Whether a complete answer is the end, whatever the process does after it."""
        ...

    def command(self, asked: Asked) -> Command:
        """Return what is run to answer. Raise ``TooLong``."""
        ...

    def reader(self) -> Reader: ...


@dataclass(frozen=True)
class BridgeHub:
    """BridgeHub's `script`, which Node runs."""

    script: Path
    name: ClassVar[str] = "BridgeHub"
    answers_once: ClassVar[bool] = False

    def command(self, asked: Asked) -> Command:
        if len(asked.raw.encode()) > ARGUMENT_BYTES:
            raise TooLong(f"{self.name} takes at most {ARGUMENT_BYTES} bytes of request.")
        return Command(["node", str(self.script), "--request", asked.raw])

    def reader(self) -> "PayloadReader":
        return PayloadReader()


class PayloadReader:
    """A reader of what BridgeHub prints: the payload is on a line of its own, whole, among lines of log."""

    def __init__(self) -> None:
        self.used: dict[str, int] | None = None
        self.trouble = ""

    def read(self, line: bytes) -> str:
        if not line.startswith(PREFIX):
            return ""
        text = _output(line.removeprefix(PREFIX))
        text, self.used = text if self.used is None else PARAGRAPH + text, {}
        return text


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
    answers_once: ClassVar[bool] = True

    def command(self, asked: Asked) -> Command:
        # The prompt goes in by standard input, because an argument has a limit.
        prompt = PARAGRAPH.join([*(f"{title}:\n{content}" for title, content in asked.context), asked.message])
        # Codex would ask before it works outside of a repository. The directory is the operator's choice, and nobody is
        # there to answer.
        return Command(
            [self.program, "exec", "--json", "--skip-git-repo-check", "--cd", asked.directory, "-"], prompt.encode()
        )

    def reader(self) -> "EventReader":
        return EventReader()


class EventReader:
    """A reader of the events of ``codex exec --json``, one a line. Source: exec_events.rs in github.com/openai/codex.

    A message comes whole when it is complete, or before that as its beginning.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self.trouble = ""
        self.used: dict[str, int] | None = None

    def read(self, line: bytes) -> str:
        match _parsed(line):
            case {"type": str(), "item": {"type": "agent_message", "id": str(item), "text": str(text)}}:
                known = self._texts.get(item, "")
                new = text[len(known) :]
                if new and not known and any(self._texts.values()):
                    new = PARAGRAPH + new
                self._texts[item] = text
                return new
            case {"type": "turn.completed", **more}:
                self.used = _usage(more.get("usage"))
            # It may be a connection that is tried again: only the turn's own events are the end.
            case {"type": "error", "message": str(reason)}:
                self.trouble = reason
            case {"type": "turn.failed", **more}:
                raise Failed(f"Codex could not answer: {_message(more) or self.trouble or 'it does not say why.'}")
        return ""


def _message(failed: Mapping[Any, Any]) -> str:
    match failed:
        case {"error": {"message": str(reason)}}:
            return reason
    return ""


def last_words(stderr: bytes) -> str:
    """Return the reason that the end of a process's standard error gives, on one line; empty if there is none."""
    lines = COLOUR.sub("", stderr.decode(errors="replace")).splitlines()
    reason = next((line for line in reversed(lines) if line and not ASIDE.match(line)), "")
    return "".join(character if character.isprintable() else " " for character in reason).strip()[:WORDS]


def _usage(told: object) -> dict[str, int]:
    """Return what a turn used, in the relay's terms; empty if it does not say so."""
    counts = told if isinstance(told, dict) else {}
    read, known, written = (counts.get(name) for name in ("input_tokens", "cached_input_tokens", "output_tokens"))
    if not (type(read) is type(known) is type(written) is int and 0 <= known <= read and written >= 0):
        return {}
    # Codex counts what was read from the cache among `input_tokens`, and the relay beside them.
    return {"input_tokens": read - known, "output_tokens": written, "cache_read_input_tokens": known}


def _parsed(text: bytes) -> Any:
    """Return the value of a JSON text; None for what is no JSON."""
    try:
        return json.loads(text)
    except NO_JSON:
        return None
