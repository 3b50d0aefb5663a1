"""A deployed template as what the gateway serves."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from infra.local.apis import HttpApi, WebSocketApi, apis
from infra.local.deployment import Deployment
from infra.local.functions import Function, functions
from infra.local.template import REGION

_API_HOST = re.compile(rf"\b(https|wss)://(\w+)\.execute-api\.{REGION}\.amazonaws\.com")
# What AWS would do with these is not done here, and is said when the gateway starts.
_NOT_SERVED = (
    "AWS::ApiGateway::RestApi",
    "AWS::Events::Rule",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Scheduler::Schedule",
    "AWS::StepFunctions::StateMachine",
)


@dataclass(frozen=True)
class Stack:
    """What one template declares, nested stacks included. `outputs` are the root template's.

    `functions` by name. `resources`: what `Ref` gives, by logical id; a nested stack's are found as `Nested.Id`.
    """

    name: str
    functions: Mapping[str, Function]
    websocket_apis: tuple[WebSocketApi, ...]
    http_apis: tuple[HttpApi, ...]
    resources: Mapping[str, str]
    outputs: Mapping[str, str]
    not_served: tuple[str, ...]


def build(deployment: Deployment, address: str) -> Stack:
    """Read the stack off a deployment.

    `address` is the gateway's `host:port`, put wherever a value names the host of an API of this stack.
    Raises TemplateError for what cannot be served at all.
    """
    everywhere = list(deployment.everywhere())
    rewrite = _rewriter(everywhere, address)
    served = [function for each in everywhere for function in functions(each, rewrite)]
    reached = [api for each in everywhere for api in apis(each)]
    return Stack(
        name=deployment.name,
        functions={function.name: function for function in served},
        websocket_apis=tuple(api for api in reached if isinstance(api, WebSocketApi)),
        http_apis=tuple(api for api in reached if isinstance(api, HttpApi)),
        resources={each.prefix + name: str(each.ref(name)) for each in everywhere for name in each.resources},
        outputs={name: rewrite(str(value)) for name, value in deployment.outputs()},
        not_served=tuple(_not_served(everywhere)),
    )


def _rewriter(deployments: Iterable[Deployment], address: str) -> Callable[[str], str]:
    """Production code differs from local code by endpoint addresses only, and this is where they change."""
    known = {each.ref(logical_id) for each in deployments for logical_id, _ in each.of_type("AWS::ApiGatewayV2::Api")}

    def local(match: re.Match[str]) -> str:
        scheme, api = match.groups()
        return f"{'ws' if scheme == 'wss' else 'http'}://{address}" if api in known else match.group()

    return lambda text: _API_HOST.sub(local, text)


def _not_served(deployments: Iterable[Deployment]) -> Iterator[str]:
    for deployment in deployments:
        for logical_id, resource in deployment.resources.items():
            if resource["Type"] in _NOT_SERVED:
                yield f"{logical_id} ({resource['Type']})"
