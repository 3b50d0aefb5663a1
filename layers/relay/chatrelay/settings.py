"""The environment variables of a function, read once and typed."""

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from chatrelay.domain.errors import SettingError
from chatrelay.domain.limits import Limits
from chatrelay.domain.text import pasted

WHOLE = re.compile(r"[0-9]{1,9}")  # not `str.isdigit`, which knows digits of other scripts
# A pattern up to 65535, because template.yaml has the same: CloudFormation compares no numbers in a text.
PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4}"
BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
HOST = rf"({BYTE}(\.{BYTE}){{3}}|(?![0-9.]+([:/]|$))[A-Za-z0-9_-]{{1,63}}(\.[A-Za-z0-9_-]{{1,63}})*)"
URL = re.compile(rf"https?://{HOST}(:({PORT}))?(/[A-Za-z0-9._~/-]*)?")
"""The address of a service: a name or an IPv4 address, no query, no credentials. template.yaml has the same."""
ISSUER_NAME = re.compile(r"[a-z][a-z0-9-]{0,15}")
ISSUER_URL = re.compile(rf"https://{HOST}(:({PORT}))?(/[A-Za-z0-9._~%!$&'()*+,;=:@/-]*)?")
"""An issuer: no query, no fragment (OpenID Connect Discovery 1.0, 3). Keycloak's realms have percent-encoded blanks."""
KEYS_URL = re.compile(rf"{ISSUER_URL.pattern}(\?[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*)?")
NO_AUDIENCE = "none"
"""Stands in ``OIDC_AUDIENCE`` for tokens that name no audience."""


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

    def limits(self, name: str) -> Limits:
        """Return the variable as limits: see ``Limits.parse``."""
        try:
            return Limits.parse(self.text(name))
        except ValueError as problem:
            raise SettingError(f"the environment variable {name}: {problem}") from None

    def names(self, name: str) -> frozenset[str]:
        """Return the variable, a list with commas, as a set; empty if the variable is."""
        return frozenset(part for part in map(pasted, self.text(name).split(",")) if part)

    def entries(self, name: str) -> list[tuple[str, str]]:
        """Return the variable, entries ``<issuer's short name>=<value>`` with blanks between them, in their order."""
        entries = []
        for entry in self.text(name).split():
            issuer, _, value = entry.partition("=")
            if not ISSUER_NAME.fullmatch(issuer) or not value:
                raise SettingError(
                    f"the environment variable {name} must have entries like app=value with blanks between them, where "
                    f"app is a short name of a-z, 0-9 and -, has {entry!r}"
                )
            entries.append((issuer, value))
        return entries

    def entry(self, name: str) -> dict[str, str]:
        """Return the variable, at most one of ``entries`` for an issuer, by the issuer's short name."""
        values: dict[str, str] = {}
        for issuer, value in self.entries(name):
            if issuer in values:
                raise _wrong(name, issuer, value, f"{issuer} may come once, leave one entry")
            values[issuer] = value
        return values


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


@dataclass(frozen=True)
class Issuer:
    """An issuer of tokens (OpenID Connect).

    `name` is short, and the deployment's own; `url` is the issuer exactly as its tokens name it. A token must be for
    one of `audiences`; with `admits_no_audience` it may name none. `required` are claims with the value that each must
    have. `jwks_url` is where the keys are; if it is empty, the issuer's discovery says that.
    """

    name: str
    url: str
    audiences: frozenset[str]
    admits_no_audience: bool
    user_claim: str
    required: tuple[tuple[str, str], ...]
    jwks_url: str


@dataclass(frozen=True)
class Oidc:
    """Whose tokens are taken beside API keys; nobody's by default."""

    issuers: tuple[Issuer, ...]

    @classmethod
    def read(cls, environment: Environment) -> "Oidc":
        """Read ``OIDC_ISSUER``, ``OIDC_AUDIENCE``, ``OIDC_USER_CLAIM``, ``OIDC_REQUIRE`` and ``OIDC_JWKS_URL``."""
        urls = environment.entry("OIDC_ISSUER")
        for name, url in urls.items():
            _check_url("OIDC_ISSUER", name, url, ISSUER_URL)
            if list(urls.values()).count(url) > 1:
                raise _wrong("OIDC_ISSUER", name, url, "two names have this address, leave one")
        audiences, user_claims = environment.entries("OIDC_AUDIENCE"), environment.entry("OIDC_USER_CLAIM")
        required, jwks_urls = environment.entries("OIDC_REQUIRE"), environment.entry("OIDC_JWKS_URL")
        _check_names("OIDC_AUDIENCE", audiences, urls)
        _check_names("OIDC_USER_CLAIM", user_claims.items(), urls)
        _check_names("OIDC_REQUIRE", required, urls)
        _check_names("OIDC_JWKS_URL", jwks_urls.items(), urls)
        for name, url in jwks_urls.items():
            _check_url("OIDC_JWKS_URL", name, url, KEYS_URL)
        return cls(
            tuple(
                Issuer(
                    name=name,
                    url=url,
                    audiences=_audiences(name, url, audiences) - {NO_AUDIENCE},
                    admits_no_audience=(name, NO_AUDIENCE) in audiences,
                    user_claim=user_claims.get(name, "sub"),
                    required=tuple(_requirement(name, value) for issuer, value in required if issuer == name),
                    jwks_url=jwks_urls.get(name, ""),
                )
                for name, url in urls.items()
            )
        )


def _wrong(variable: str, name: str, value: str, cure: str) -> SettingError:
    return SettingError(f"the environment variable {variable} has {f'{name}={value}'!r}: {cure}")


def _check_url(variable: str, name: str, url: str, pattern: re.Pattern[str]) -> None:
    if url.startswith("http://"):
        raise _wrong(variable, name, url, "write https://, keys must not come over http://")
    if not pattern.fullmatch(url):
        raise _wrong(variable, name, url, "write an address that begins with https://, without credentials or #")


def _check_names(variable: str, entries: Iterable[tuple[str, str]], known: Container[str]) -> None:
    for name, value in entries:
        if name not in known:
            raise _wrong(variable, name, value, f"OIDC_ISSUER has no {name}, add it there or correct the name")


def _audiences(name: str, url: str, entries: list[tuple[str, str]]) -> frozenset[str]:
    audiences = frozenset(audience for issuer, audience in entries if issuer == name)
    if not audiences:
        cure = f"{name} has no audience, add {name}=<whom its tokens are for> to OIDC_AUDIENCE"
        raise _wrong("OIDC_ISSUER", name, url, cure)
    return audiences


def _requirement(name: str, text: str) -> tuple[str, str]:
    claim, equals, value = text.partition("=")
    if not claim or not equals:
        raise _wrong("OIDC_REQUIRE", name, text, f"write {name}=claim=value")
    return claim, unquote(value)
