"""A deployed template as what the gateway serves."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from emulator.account import REGION
from emulator.template import omissions
from emulator.template.apis import Api, HttpApi, Integration, Route, WebSocketApi, apis
from emulator.template.conversions import as_json_text
from emulator.template.deployment import Deployment
from emulator.template.functions import Function, functions
from emulator.template.omissions import Omission

Places = Mapping[tuple[str, str], str]
"""The stage under which an API is served here, by its id and its own stage."""

# With or without a scheme, and with the stage if one follows.
_HOST = re.compile(
    rf"(?:\b(https|wss)://)?\b(\w+)\.(?:execute-api\.{REGION}\.amazonaws\.com|lambda-url\.{REGION}\.on\.aws)(/[\w$-]+)?"
)
_SCHEMES = {"https": "http://", "wss": "ws://", None: ""}


@dataclass(frozen=True)
class Stack:
    """What one template declares, nested stacks included. `outputs` are the root template's.

    `functions` by name. `resources`: what `Ref` gives, by logical id; a nested stack's are found as `Nested.Id`.
    `notices`: lines that say what is not served, and what is served elsewhere than in AWS.
    """

    name: str
    functions: Mapping[str, Function]
    websocket_apis: tuple[WebSocketApi, ...]
    http_apis: tuple[HttpApi, ...]
    resources: Mapping[str, str]
    outputs: Mapping[str, str]
    notices: tuple[str, ...]


def build(deployment: Deployment, address: str, unpacked: Path) -> Stack:
    """Read the stack off a deployment.

    `address` is the gateway's `host:port`, put wherever a value names the host of an API of this stack. `unpacked` is
    where code that is no folder is written. Raise TemplateError for what cannot be served at all.
    """
    everywhere = list(deployment.everywhere())
    reached = [api for each in everywhere for api in apis(each)]
    places = {
        **_places(api for api in reached if isinstance(api, WebSocketApi)),
        **_places(api for api in reached if isinstance(api, HttpApi)),
    }
    rewrite = _rewriter({api.id for api in reached}, places, address)
    served = {function.name: function for each in everywhere for function in functions(each, rewrite, unpacked)}
    strangers: list[Omission] = []
    placed: list[Api] = []
    for api in reached:
        routes = {key: _known(api, route, served, strangers) for key, route in api.routes.items()}
        stages = {places[api.id, stage]: variables for stage, variables in api.stages.items()}
        placed.append(replace(api, routes=routes, stages=stages))
    return Stack(
        name=deployment.name,
        functions=served,
        websocket_apis=tuple(api for api in placed if isinstance(api, WebSocketApi)),
        http_apis=tuple(api for api in placed if isinstance(api, HttpApi)),
        resources={each.prefix + name: str(each.ref(name)) for each in everywhere for name in each.resources},
        outputs={name: rewrite(as_json_text(value)) for name, value in deployment.outputs()},
        notices=(
            *omissions.lines(itertools.chain(*(each.omissions for each in everywhere), strangers)),
            *(
                f"{api.name}: served at /{places[api.id, stage]}, because another API here has the stage {stage}"
                for api in reached
                for stage in api.stages
                if places[api.id, stage] != stage
            ),
        ),
    )


def _places(apis: Iterable[Api]) -> dict[tuple[str, str], str]:
    """Return the stage under which each API is served here: its own, or the API's name where that is taken."""
    # All have one address, so only the stage tells them apart.
    places: dict[tuple[str, str], str] = {}
    for api in apis:
        name = re.sub(r"[^\w-]", "-", api.name)
        for stage in api.stages:
            # More names than there are places so far, so one of them is free.
            wanted = (stage, name, *(f"{name}-{n}" for n in range(2, len(places) + 3)))
            places[api.id, stage] = next(place for place in wanted if place not in places.values())
    return places


def _rewriter(known: Iterable[str], places: Places, address: str) -> Callable[[str], str]:
    """Return the function that puts this machine's address in the place of AWS's.

    Production code differs from local code by endpoint addresses only, and this is where they change.
    """

    def local(match: re.Match[str]) -> str:
        scheme, api, path = match.groups(default="")
        if api not in known:
            return match.group()
        default = places.get((api, "$default"), "$default")
        root = "" if default == "$default" else f"/{default}"
        place = places.get((api, path.removeprefix("/")))
        return f"{_SCHEMES[scheme or None]}{address}" + (f"/{place}" if place else f"{root}{path}")

    return lambda text: _HOST.sub(local, text)


def _known(api: Api, route: Route, functions: Mapping[str, Function], strangers: list[Omission]) -> Route:
    """Return the route; one that serves nothing if it calls, or asks, a function that is not in these templates."""
    asked = (route.integration.function, route.authorizer.function if route.authorizer else "")
    for arn in filter(None, asked):
        if arn.split(":")[6] not in functions:
            reason = f"{arn} is no function of this template"
            strangers.append(Omission(api.name, f"route {route.key}", reason))
            return replace(route, integration=Integration("", proxy=False, not_served=reason), authorizer=None)
    return route
