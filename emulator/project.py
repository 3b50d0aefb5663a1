"""What this repository adds to the emulator, which its pyproject.toml says.

The edge's two paths, the playground, a development key, and the model: the real service if ``ANTHROPIC_API_KEY`` is
set (``ANTHROPIC_BASE_URL`` respected), otherwise a script that speaks the service's protocol to the same SDK.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from chatrelay.domain.attachments import (
    ATTACHMENTS_LIMIT,
    FILE_LIMIT_BYTES,
    IMAGE_LIMIT_BYTES,
    NAME_LIMIT_BYTES,
    POSTED_LIMIT_BYTES,
    TEXT_LIMIT_BYTES,
)
from chatrelay.domain.text import pasted
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from chatrelay.wire.identity import new_key
from chatrelay.wire.limits import AGENTS
from emulator import protocol_pages
from emulator.cures import cures
from emulator.plugin import Plugin
from emulator.services.services import Services
from emulator.serving.loopback import is_of_this_machine
from emulator.stand_ins.demonstration import demonstration
from emulator.stand_ins.fake_anthropic import ScriptedModel
from emulator.stand_ins.push_services import PushServices, apple_key, google_account
from emulator.template.stack import Stack

PLAYGROUND = Path(__file__).parents[1] / "playground"
CLIENTS = PLAYGROUND.with_name("clients")
EDGE = {f"/api/{agent}/ws": f"/v1?agent={agent}" for agent in AGENTS}
SCRIPT = "/demonstration"
PUSHES = "/pushes"
"""The path at which the stand-in push services are served."""
APPLE, GOOGLE = "local/apns", "local/fcm"
DEVELOPER = "developer"
FRESH = {"cache-control": "no-store"}
PROMPTS = {"ClaudePrompt": "CLAUDE_PROMPT", "CodexPrompt": "CODEX_PROMPT"}
"""The variable of the shell with the text, by the parameter that names where it is kept; functions call it the same."""
LIMIT_PARAMETERS = {
    "messages_per_minute": "MessagesPerMinute",
    "replies_at_once": "RepliesAtOnce",
    "tokens_per_day": "TokensPerDay",
    "tokens_per_month": "TokensPerMonth",
    "dollars_per_day": "DollarsPerDay",
    "dollars_per_month": "DollarsPerMonth",
    "sockets": "SocketsAtOnce",
    "frames_per_minute": "FramesPerMinute",
    "devices": "Devices",
    "files_per_day": "FilesPerDay",
    "megabytes_per_day": "MegabytesPerDay",
}
"""The template's limits of a user. Those that the command line gives hold for the developer, too."""
LIMITS = {
    "attachments": ATTACHMENTS_LIMIT,
    "file": FILE_LIMIT_BYTES,
    "image": IMAGE_LIMIT_BYTES,
    "text": TEXT_LIMIT_BYTES,
    "name": NAME_LIMIT_BYTES,
    "posted": POSTED_LIMIT_BYTES,
}
"""What the page refuses when a file is chosen, before the relay would refuse the message."""


def plugin(address: str, variables: Mapping[str, str] = os.environ) -> Plugin:
    """Return what is added at `address`, the gateway's ``host:port``, for the shell's `variables`."""
    key = pasted(variables.get("CHATRELAY_DEV_KEY", "")) or new_key()
    real = variables.get("ANTHROPIC_API_KEY")
    base_url = variables.get("ANTHROPIC_BASE_URL") if real else f"http://{address}{SCRIPT}"
    port = address.rpartition(":")[2]
    # As browsers name them: a scheme's own port is not said.
    own_origins = [f"http://{own}".removesuffix(":80") for own in (address, f"localhost:{port}", f"127.0.0.1:{port}")]
    environment: dict[str, str] = {}
    if not real:  # the script knows a riddle to think about
        environment |= {"CLAUDE_THINKING": "true", "CLAUDE_WEB_SEARCHES": "1"}
    if base_url:
        environment["ANTHROPIC_BASE_URL"] = base_url
    pushes = f"http://{address}{PUSHES}"
    environment |= {"APNS_SECRET": APPLE, "APNS_URL": pushes, "APNS_SANDBOX_URL": pushes}
    environment |= {"FCM_SECRET": GOOGLE, "FCM_URL": pushes}

    push_services = PushServices()
    unlimited: dict[str, None] = {}
    backends = {"claude": "anthropic"}

    def parameters(given: Mapping[str, str]) -> Mapping[str, str]:
        """Return parameters that let in the BuilderOS app and the playground, beside whoever is `given`."""
        origins = ",".join([*filter(None, [given.get("AllowedOrigins")]), *own_origins])
        unlimited.update({limit: None for limit, name in LIMIT_PARAMETERS.items() if name not in given})
        prompts = {name: f"/local/{name}" for name, variable in PROMPTS.items() if variables.get(variable)}
        # The app brings its key as its first frame.
        return {"FirstFrameAuth": "true", **prompts, **given, "AllowedOrigins": origins}

    async def prepare(stack: Stack, services: Services) -> None:
        table = stack.outputs["TableName"]
        store = Store.over(Table(services.client("dynamodb"), table))
        store.api_keys.add(key, DEVELOPER, "make run")
        store.accounts.override(DEVELOPER, unlimited)
        message = stack.functions[stack.resources["MessageFunction"]].environment
        backends["codex"] = message["CODEX_BACKEND"]
        secrets = services.client("secretsmanager")
        # The script refuses a request without a key, as the service does, and takes any.
        secrets.create_secret(Name=message["CLAUDE_SECRET"], SecretString=real or "demonstration")
        secrets.create_secret(Name=APPLE, SecretString=apple_key())
        secrets.create_secret(Name=GOOGLE, SecretString=google_account(f"{pushes}/token"))
        for secret, variable in (("BRIDGEHUB_SECRET", "BRIDGEHUB_TOKEN"), ("OPENAI_SECRET", "OPENAI_API_KEY")):
            if value := variables.get(variable):
                secrets.create_secret(Name=message[secret], SecretString=value)
        for variable in PROMPTS.values():
            if message[variable] and (value := variables.get(variable)):
                services.client("ssm").put_parameter(Name=message[variable], Value=value, Type="String")

    return Plugin(
        routes=_routes(key, push_services, backends, demonstrates=not real),
        paths=EDGE,
        environment=environment,
        parameters=parameters,
        banner=_banner(address, key, base_url, demonstrates=not real),
        sentence=partial(_reply_line, backends),
        prepare=prepare,
        end=push_services.end,
    )


def _reply_line(backends: Mapping[str, str], entry: Mapping[str, Any]) -> str | None:
    """Return the gateway's line for the end of a reply, from what `message` logs of it: one line a reply."""
    match entry:
        case {
            "message": "reply ended",
            "status": "complete" | "cancelled" as status,
            "length": int(length),
            "posts": posts,
        }:
            return f"reply {status}: {length:,} characters in {posts} posts"
        case {"message": "reply ended"}:  # "reply failed" has said more
            return ""
        case {
            "message": "reply failed",
            "agent": str(agent),
            "reason": str(reason),
            "service_said": {"status": status, "sentence": sentence},
        }:
            cure = (cures(backends.get(agent, "")) or {}).get(reason)
            failed = f"reply failed{f' ({status})' if status else ''}: {cure or reason}"
            return f'{failed} Its service said: "{sentence}"' if sentence else failed
    return None


def _routes(key: str, pushes: PushServices, backends: Mapping[str, str], *, demonstrates: bool) -> list[BaseRoute]:
    config = {
        "websocket": "/v1",
        "agents": AGENTS,
        "demonstration": demonstrates,
        "limits": LIMITS,
        "run": uuid4().hex,  # the emulator forgets everything when it ends, which the page may have kept the key of
    }

    def page(request: Request) -> Response:
        """Return the page, or send a browser that asks `localhost` to its address."""
        # The addresses of files begin with it: from `localhost` they would be of another origin.
        if request.url.hostname == "localhost":
            return RedirectResponse(request.url.replace(hostname="127.0.0.1"))
        return FileResponse(PLAYGROUND / "index.html", headers=_policy(request))

    def configuration(request: Request) -> JSONResponse:
        """Return what the page has to know. Only this machine's own pages get the key."""
        # Not once at the start: which backend Codex has is known when the template is deployed.
        known = {agent: cures(backends.get(agent, "")) for agent in AGENTS}
        given = key if is_of_this_machine(request) else None
        return JSONResponse({**config, "cures": known, "key": given}, headers=FRESH)

    return [
        Route("/", page),
        Route("/playground/config.json", configuration),
        Mount("/playground", _Page(directory=PLAYGROUND)),
        Mount("/clients", _Page(directory=CLIENTS)),
        *protocol_pages.routes(),
        Mount(PUSHES, pushes),
        *([Mount(SCRIPT, ScriptedModel(demonstration))] if demonstrates else []),
    ]


class _Page(StaticFiles):
    """The page's files."""

    def file_response(self, full_path: Any, stat_result: Any, scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_policy(Request(scope)))
        return response


def _policy(request: Request) -> dict[str, str]:
    """Return the headers that let the page run its own scripts only."""
    # Other files of its origin, under `/s3`, are what users keep there.
    own = f"{request.url.scheme}://{request.url.netloc}"
    return {"content-security-policy": f"script-src {own}/playground/ {own}/clients/"}


def _banner(address: str, key: str, base_url: str | None, *, demonstrates: bool) -> list[str]:
    model = "a demonstration script (set ANTHROPIC_API_KEY for the real one)" if demonstrates else base_url or "Claude"
    return [
        f"The BuilderOS app's base URL: http://{address}",
        f"Development API key: {key}",
        f"The model: {model}",
        f"Playground: http://{address}/",
        f"The protocol: http://{address}/protocol",
    ]
