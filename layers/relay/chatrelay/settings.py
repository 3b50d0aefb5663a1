"""The environment variables of a function, read once and typed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chatrelay.domain.errors import SettingError
from chatrelay.domain.text import pasted

WHOLE = re.compile(r"[0-9]{1,9}")  # not `str.isdigit`, which knows digits of other scripts
# A pattern up to 65535, because template.yaml has the same: CloudFormation compares no numbers in a text.
PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4}"
BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
HOST = rf"({BYTE}(\.{BYTE}){{3}}|(?![0-9.]+([:/]|$))[A-Za-z0-9_-]{{1,63}}(\.[A-Za-z0-9_-]{{1,63}})*)"
URL = re.compile(rf"https?://{HOST}(:({PORT}))?(/[A-Za-z0-9._~/-]*)?")
"""The address of a service: a name or an IPv4 address, no query, no credentials. template.yaml has the same."""


class Environment:
    """Variables by name. Every method raises ``SettingError`` with the name of a missing or malformed variable."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str) -> str:
        """Return the variable, which may be empty but must exist, as ``pasted``."""
        try:
            return pasted(self._variables[name])
        except KeyError:
            raise SettingError(f"the environment variable {name} is missing") from None

    def number(self, name: str, least: int = 1) -> int:
        """Return the variable as a whole number of at least `least`."""
        text = self.text(name)
        if not WHOLE.fullmatch(text) or int(text) < least:
            raise SettingError(f"the environment variable {name} must be a whole number from {least} on, is {text!r}")
        return int(text)

    def url(self, name: str) -> str:
        """Return the variable as the address of a service: see ``URL``."""
        text = self.text(name)
        if not URL.fullmatch(text):
            raise SettingError(
                f"the environment variable {name} must be an address that begins with https:// or http://, is {text!r}"
            )
        return text

    def flag(self, name: str) -> bool:
        """Return the variable, which must be ``true`` or ``false``."""
        text = self.text(name)
        if text not in ("true", "false"):
            raise SettingError(f"the environment variable {name} must be true or false, is {text!r}")
        return text == "true"

    def names(self, name: str) -> frozenset[str]:
        """Return the variable, a list with commas, as a set; empty if the variable is."""
        return frozenset(part for part in map(pasted, self.text(name).split(",")) if part)


@dataclass(frozen=True)
class Handshake:
    """Who may connect. `first_frame_auth` admits connections without credentials, to authenticate by a first frame."""

    first_frame_auth: bool
    allowed_origins: frozenset[str]

    @classmethod
    def read(cls, environment: Environment) -> "Handshake":
        """Read ``FIRST_FRAME_AUTH`` and ``ALLOWED_ORIGINS``."""
        return cls(environment.flag("FIRST_FRAME_AUTH"), environment.names("ALLOWED_ORIGINS"))


@dataclass(frozen=True)
class Claude:
    """What a deployment chooses for Claude.

    `read_timeout_s` is the longest silence between two bytes of a stream. `fallback_model` answers when `model` is
    overloaded; it may be empty. `web_searches` is how often the model may search for one answer. `prompt` names the
    parameter with the system prompt; it may be empty.
    """

    bedrock: bool
    secret: str
    model: str
    fallback_model: str
    thinking: bool
    web_searches: int
    max_tokens: int
    prompt: str
    read_timeout_s: int
    history_tokens: int

    @classmethod
    def read(cls, environment: Environment) -> "Claude":
        """Read ``CLAUDE_SECRET``, ``CLAUDE_MODEL`` and so on."""
        return cls(
            bedrock=environment.text("CLAUDE_BACKEND") == "bedrock",
            secret=environment.text("CLAUDE_SECRET"),
            model=environment.text("CLAUDE_MODEL"),
            fallback_model=environment.text("CLAUDE_FALLBACK_MODEL"),
            thinking=environment.flag("CLAUDE_THINKING"),
            web_searches=environment.number("CLAUDE_WEB_SEARCHES", least=0),
            max_tokens=environment.number("CLAUDE_MAX_TOKENS"),
            prompt=environment.text("CLAUDE_PROMPT"),
            read_timeout_s=environment.number("CLAUDE_READ_TIMEOUT"),
            history_tokens=environment.number("CLAUDE_HISTORY_TOKENS"),
        )


@dataclass(frozen=True)
class Push:
    """How pushes are sent. A platform without the name of a secret is not served."""

    apns_secret: str
    apns_team: str
    apns_key_id: str
    apns_bundle: str
    apns_url: str
    apns_sandbox_url: str
    fcm_secret: str
    fcm_url: str
    previews: bool

    @classmethod
    def read(cls, environment: Environment) -> "Push":
        """Read ``APNS_SECRET``, ``FCM_SECRET``, ``PUSH_PREVIEW`` and so on."""
        return cls(
            apns_secret=environment.text("APNS_SECRET"),
            apns_team=environment.text("APNS_TEAM"),
            apns_key_id=environment.text("APNS_KEY_ID"),
            apns_bundle=environment.text("APNS_BUNDLE"),
            apns_url=environment.text("APNS_URL"),
            apns_sandbox_url=environment.text("APNS_SANDBOX_URL"),
            fcm_secret=environment.text("FCM_SECRET"),
            fcm_url=environment.text("FCM_URL"),
            previews=environment.flag("PUSH_PREVIEW"),
        )


@dataclass(frozen=True)
class BridgeHub:
    """Where Codex answers on its user's own machine. `working_directory` is a directory there."""

    base_url: str
    secret: str
    working_directory: str

    @classmethod
    def read(cls, environment: Environment) -> "BridgeHub":
        """Read ``BRIDGEHUB_URL``, ``BRIDGEHUB_SECRET`` and ``BRIDGEHUB_WORKING_DIRECTORY``."""
        return cls(
            base_url=environment.url("BRIDGEHUB_URL"),
            secret=environment.text("BRIDGEHUB_SECRET"),
            working_directory=environment.text("BRIDGEHUB_WORKING_DIRECTORY"),
        )


@dataclass(frozen=True)
class OpenAI:
    """What a deployment without BridgeHub chooses for Codex.

    `base_url` ends in ``/v1``, as for OpenAI's own SDKs; `thinking` asks for a summary of what the model thinks;
    `prompt` as for ``Claude``.
    """

    base_url: str
    secret: str
    model: str
    thinking: bool
    max_tokens: int
    prompt: str
    read_timeout_s: int

    @classmethod
    def read(cls, environment: Environment) -> "OpenAI":
        """Read ``OPENAI_BASE_URL``, ``OPENAI_SECRET``, ``CODEX_MODEL`` and so on."""
        return cls(
            base_url=environment.url("OPENAI_BASE_URL"),
            secret=environment.text("OPENAI_SECRET"),
            model=environment.text("CODEX_MODEL"),
            thinking=environment.flag("CODEX_THINKING"),
            max_tokens=environment.number("CODEX_MAX_TOKENS"),
            prompt=environment.text("CODEX_PROMPT"),
            read_timeout_s=environment.number("CODEX_READ_TIMEOUT"),
        )
