"""`python -m emulator`: serve a SAM template here. Prints `Ready: http://HOST:PORT/` once it does."""

import argparse
import asyncio
import contextlib
import errno
import ipaddress
import os
import re
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from emulator import log
from emulator import plugin as plugins
from emulator.account import REGION
from emulator.faults import plan as faults
from emulator.faults.injection import interfering
from emulator.faults.plan import Plan
from emulator.gateway.gateway import Gateway
from emulator.limits import Limits, override
from emulator.services import identity, services
from emulator.serving import guard, server
from emulator.serving.guard import Names
from emulator.template.deployment import Deployment
from emulator.template.intrinsics import TemplateError
from emulator.template.stack import build

_STACK = "local"
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)/?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def main(arguments: list[str] | None = None) -> int:
    """Serve until the end is asked for. Return the exit status: 1 for what cannot be served."""
    options = _parser().parse_args(arguments)
    log.configure(verbose=options.verbose)
    try:
        return _run(options)
    except (TemplateError, OSError, ValueError) as error:
        print(log.escaped(f"emulator: {error}"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before it serves; afterwards Ctrl-C ends it in order
        return 130  # 128 and the number of SIGINT, as shells report it


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m emulator",
        description=__doc__,
        epilog=f"--faults: {faults.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--template", type=Path, default=Path("template.yaml"))
    parser.add_argument("--host", default="127.0.0.1", help="of this machine (default: %(default)s)")
    parser.add_argument(
        "--allow-host",
        action="append",
        type=host_name,
        default=[],
        metavar="NAME",
        help="another name of it, as a tunnel has",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        type=origin,
        default=[],
        metavar="ORIGIN",
        help="whose pages may ask the template's APIs",
    )
    # argparse reads a default that is text with `type`, so a PORT that is no number is named like an option.
    parser.add_argument(
        "--port", type=_port, default=os.environ.get("PORT", "8080"), help="0: any free one (default: PORT, or 8080)"
    )
    parser.add_argument(
        "--parameter", action="append", type=_pair, default=[], metavar="NAME=VALUE", help="of the template"
    )
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=NUMBER", help="see limits.py")
    parser.add_argument("--faults", type=_plan, metavar="FILE|{...}", help="what shall go wrong, and when: see below")
    parser.add_argument("--verbose", action="store_true", help="show every frame and run, and all that functions print")
    return parser


def host_name(text: str) -> str:
    """Return a name as requests are compared with it. Raise ArgumentTypeError."""
    name, port = guard.parts(text, scheme="")
    if not name:
        raise argparse.ArgumentTypeError(f"a name is NAME or NAME:PORT, without a scheme, not {text!r}")
    return name if port is None else f"{name}:{port}"


def origin(text: str) -> str:
    """Return an origin as browsers write it: in small letters, without a path, and without the port of its scheme."""
    # Any origin, and what browsers send for a page that has none, as that of a file.
    if text in ("*", "null"):
        return text
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"an origin is as https://app.example or http://localhost:3000, not {text!r}")
    scheme, host = match.groups()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"PORT is a number from 0 to 65535, not {text!r}")
    return int(text)


def _pair(setting: str) -> tuple[str, str]:
    name, separator, value = setting.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{setting!r} is not NAME=VALUE")
    return name, value


def _plan(value: str) -> Plan:
    """Return a plan that is written out, or that is in the file of this name."""
    try:
        return faults.read(value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8"))
    except (faults.PlanError, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(options: argparse.Namespace) -> int:
    # The translator asks boto3 for the Region.
    os.environ["AWS_DEFAULT_REGION"] = REGION
    limits = override(Limits(), options.limit)
    # The port comes first: the certificate, the plugin and every address in the template name it.
    with (
        listen(options.host, options.port) as listening,
        identity.issued(listening.getsockname()[0]) as issued,
        services.running(issued.credentials) as running,
        tempfile.TemporaryDirectory(prefix="emulator-") as unpacked,
    ):
        issued.write_credentials(running.endpoint)  # not earlier: the file says where the services are
        host, port = listening.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        plugin = plugins.load(options.template, address)
        deployment = Deployment(options.template, _STACK, plugin.parameters(dict(options.parameter)), running)
        deployment.deploy()
        stack = build(deployment, address, Path(unpacked))
        running.describe(stack.name, stack.outputs)
        names = Names(address, frozenset(options.allow_host))
        gateway = Gateway(stack, running, limits, plugin, issued, names, frozenset(options.allow_origin))
        asyncio.run(_serve(gateway, listening, options.faults))
    return 0


async def _serve(gateway: Gateway, listening: socket.socket, plan: Plan | None) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if plan is not None:
            wrong = interfering(plan, gateway.stack, gateway.services, gateway.limits)
            gateway = replace(gateway, interference=await stack.enter_async_context(wrong))
        await gateway.serve(listening, lambda: _announce(gateway))


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Raise OSError, or ValueError, that says what to do."""
    try:
        listening = server.listen(host, port)
    except OSError as problem:
        match problem.errno:
            case errno.EADDRINUSE:
                cure = f"is taken. Another is free: --port {_free_port(host, port)}"
            case errno.EACCES:
                cure = "is for administrators. Take one from 1024 on: --port 8080"
            case _:
                cure = "cannot be listened on. --host takes an address of this machine"
        raise OSError(f"{host}:{port} {cure}") from problem
    # What is served has to be told to functions and pages as an address, and a wildcard is none, however it is written.
    if ipaddress.ip_address(listening.getsockname()[0]).is_unspecified:
        listening.close()
        raise ValueError("--host is one address of this machine, the one that others shall reach it by")
    return listening


def _free_port(host: str, taken: int) -> int:
    """Return the next port that is free, or any free one; 0 if there is none."""
    for port in (*range(taken + 1, min(taken + 20, 65536)), 0):
        with contextlib.suppress(OSError), server.listen(host, port) as listening:
            return int(listening.getsockname()[1])
    return 0


def _announce(gateway: Gateway) -> None:
    websockets = [f"ws://{gateway.address}/{stage}" for api in gateway.stack.websocket_apis for stage in api.stages]
    lines = [
        *gateway.stack.notices,
        *(f"WebSocket: {url}" for url in websockets),
        f"Credentials: AWS_SHARED_CREDENTIALS_FILE={gateway.identity.credentials_file}",
        *gateway.plugin.banner,
        "Kept in memory only, and gone when this ends: tables, files, secrets, queues, connections",
        f"Ready: http://{gateway.address}/",
    ]
    print("\n".join(map(log.escaped, lines)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
