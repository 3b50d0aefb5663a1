"""`python -m infra.bridgehub`: answer the relay with the BridgeHub or the Codex of this machine."""

import argparse
import logging
import shutil
import signal
import sys
from pathlib import Path

import uvicorn

from infra.bridgehub.app import application
from infra.bridgehub.clis import BridgeHub, Cli, Codex

REPOSITORY = Path(__file__).resolve().parents[2]
CALLS = 2
TIME_LIMIT_S = 120
LAST_MOMENT_S = 1  # what calls that are under way have left when the sidecar is told to end


def main(arguments: list[str] | None = None) -> int:
    """Answer the relay until the end is asked for. Return the exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("infra.bridgehub").setLevel(logging.DEBUG if options.verbose else logging.INFO)
    # As Ctrl-C does, so that what runs is ended first: uvicorn raises the signal again when it has stopped serving.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cli: Cli = BridgeHub(options.bridgehub) if options.bridgehub else Codex(options.codex)
    uvicorn.run(
        application(cli, options.token_file, options.calls, options.time_limit_s),
        host=options.host,
        port=options.port,
        http="h11",
        ws="none",
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=LAST_MOMENT_S,
    )
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.bridgehub", description=__doc__)
    cli = parser.add_mutually_exclusive_group(required=True)
    cli.add_argument("--bridgehub", type=_script, metavar="FILE", help="bridgehub.js, which is run by `node`")
    cli.add_argument("--codex", type=_program, metavar="PROGRAM", help="run `codex exec --json` itself instead")
    parser.add_argument("--token-file", type=_token, required=True, metavar="FILE", help="has the relay's token")
    parser.add_argument("--host", default="127.0.0.1", help="(default: %(default)s; a tunnel leads here)")
    parser.add_argument("--port", type=int, default=8787, help="(default: %(default)s; 0: any free port)")
    parser.add_argument("--calls", type=_positive, default=CALLS, help="at once (default: %(default)s)")
    parser.add_argument(
        "--time-limit-s",
        type=_positive,
        default=TIME_LIMIT_S,
        metavar="SECONDS",
        help="of a call (default: %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="show what the command line prints")
    return parser


def _script(name: str) -> Path:
    if not Path(name).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {name}")
    _program("node")  # which runs the script: its lack is named at the start, not by the first call
    return Path(name)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise argparse.ArgumentTypeError(f"there is no program {name} on the PATH")
    return found


def _token(name: str) -> str:
    sys.path.append(str(REPOSITORY / "layers" / "relay"))  # the sidecar's requirements do not install it
    from chatrelay.domain.text import pasted

    try:
        token = pasted(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise argparse.ArgumentTypeError(f"the token cannot be read: {problem}") from problem
    if not token:
        raise argparse.ArgumentTypeError(f"there is no token in {name}")
    return token


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


if __name__ == "__main__":
    sys.exit(main())
