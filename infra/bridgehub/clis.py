"""The command lines behind the sidecar: how each is called, and what of the answer its lines say. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

PREFIX = b"JARVIS_PAYLOAD="
PARAGRAPH = "\n\n"
"""Between two messages of one answer, and between two thoughts that follow each other."""
PIECE_CHARS = 500_000
"""Of a text in one event, so that its line, in ASCII with at most 12 bytes a character, has less than 8 MB."""
VALUE_CHARS = 64_000
"""Of the JSON of a tool's input or result. The relay shows 30,000 of a result, and says so if there are more."""
OUTPUT_CHARS = 32_000
"""Of a command's output: more than the relay shows. Codex keeps a megabyte of it."""
NAME_CHARS = 512

ARGUMENT_BYTES = 128 * 1024 - 1  # Linux takes no longer argument. Source: execve(2), MAX_ARG_STRLEN
NO_JSON = (ValueError, RecursionError)

WORDS = 300  # characters of a command line's last words: enough for a sentence, no page of a log
COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# Begins a line that follows the reason: of a stack, or Node's and Rust's last ones.
ASIDE = re.compile(r"\s|Node\.js v|note: run with")


Event = dict[str, Any]
"""What goes to the relay, as ``openapi.yaml`` says."""


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

    def read(self, line: bytes) -> Iterator[Event]:
        """Yield what `line` says of the answer: everything else is log. Raise ``Failed``."""
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

    def read(self, line: bytes) -> Iterator[Event]:
        if line.startswith(PREFIX):
            text = _output(line.removeprefix(PREFIX))
            text, self.used = text if self.used is None else PARAGRAPH + text, {}
            yield from _said("text", text)


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

    A message or a thought comes whole when it is complete, or before that as its beginning. A tool's call comes with
    the first event of its item whose input is whole, and its result with the item's end.
    """

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._has_text = False
        self._last = ""
        self._called: set[str] = set()
        self.trouble = ""
        self.used: dict[str, int] | None = None

    def read(self, line: bytes) -> Iterator[Event]:
        match _parsed(line):
            case {"type": str(), "item": {"type": "agent_message", "id": str(item), "text": str(text)}}:
                yield from self._grown("text", item, text, is_first=not self._has_text)
                self._has_text = self._has_text or text != ""
            case {"type": str(), "item": {"type": "reasoning", "id": str(item), "text": str(text)}}:
                yield from self._grown("reasoning", item, text, is_first=self._last != "reasoning")
            case {"type": str(event), "item": {"id": str(item)} as fields}:
                yield from self._tool(item, fields, is_over=event == "item.completed")
            case {"type": "turn.completed", **more}:
                self.used = _usage(more.get("usage"))
            # It may be a connection that is tried again: only the turn's own events are the end.
            case {"type": "error", "message": str(reason)}:
                self.trouble = reason
            case {"type": "turn.failed", **more}:
                raise Failed(f"Codex could not answer: {_message(more) or self.trouble or 'it does not say why.'}")

    def _grown(self, kind: str, item: str, text: str, *, is_first: bool) -> Iterator[Event]:
        """Yield what of the `item` was not read before: a paragraph of its own, unless it `is_first`."""
        known = self._texts.get(item, "")
        self._texts[item] = text
        if new := text[len(known) :]:
            self._last = kind
            yield from _said(kind, new if known or is_first else PARAGRAPH + new)

    def _tool(self, item: str, fields: Mapping[str, Any], *, is_over: bool) -> Iterator[Event]:
        """Yield the call of a tool, once, and its result when it `is_over`."""
        tool = _tool(fields)
        # What is searched for is known when the search is over.
        if tool is None or (tool.name == "web_search" and not is_over):
            return
        call = item[:NAME_CHARS]
        if item not in self._called:
            self._called.add(item)
            yield {"type": "tool", "call": call, "name": tool.name[:NAME_CHARS], "input": _bounded(tool.asked)}
        if is_over:
            yield {"type": "tool_result", "call": call, "content": _bounded(tool.found), "is_error": tool.is_error}
        self._last = "tool"


@dataclass(frozen=True)
class Tool:
    """A tool that Codex uses: what it was asked and what it found, as JSON values."""

    name: str
    asked: Any
    found: Any
    is_error: bool


def _tool(item: Mapping[str, Any]) -> Tool | None:
    """Return the tool that an item is, as far as it has come; None for an item of another kind."""
    status = item.get("status")
    found, is_error = {"status": status if isinstance(status, str) else "completed"}, status in ("failed", "declined")
    match item:
        case {"type": "command_execution" as name, "command": str(command), **more}:
            code, output = more.get("exit_code"), more.get("aggregated_output")
            said = {"exit_code": code, "output": output[:OUTPUT_CHARS] if isinstance(output, str) else ""}
            return Tool(name, {"command": command}, said, is_error or code not in (0, None))
        case {"type": "file_change" as name, "changes": [*changes]}:
            return Tool(name, {"changes": changes}, found, is_error)
        case {"type": "mcp_tool_call", "server": str(server), "tool": str(tool), "error": {} as problem, **more}:
            return Tool(f"{server}.{tool}", more.get("arguments"), problem, is_error=True)
        case {"type": "mcp_tool_call", "server": str(server), "tool": str(tool), **more}:
            result = more.get("result")
            content = result.get("content", found) if isinstance(result, dict) else found
            return Tool(f"{server}.{tool}", more.get("arguments"), content, is_error)
        case {"type": "web_search" as name, "query": str(query), **more}:
            return Tool(name, {"query": query}, more.get("results") or found, is_error)
        case {"type": "todo_list" as name, "items": [*steps]}:
            return Tool(name, {"items": steps}, {"items": steps}, is_error)
    return None


def _said(kind: str, text: str) -> Iterator[Event]:
    """Yield a text in events that are short enough for a line."""
    for at in range(0, len(text), PIECE_CHARS):
        yield {"type": kind, "text": text[at : at + PIECE_CHARS]}


def _bounded(value: Any) -> Any:
    """Return a JSON value, or the beginning of its JSON as a text if that is too long; None for no JSON."""
    try:  # Python reads numbers that JSON does not have
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, allow_nan=False)
    except NO_JSON:
        return None
    return value if len(written) <= VALUE_CHARS else written[:VALUE_CHARS]


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
