"""What starts the sidecar: the files for the machine, which name options that it has, and the token."""

import configparser
import plistlib
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.bridgehub.__main__ import parser

FOLDER = Path(__file__).parents[3] / "infra" / "bridgehub"


def systemd() -> list[str]:
    unit = configparser.ConfigParser(interpolation=None)
    unit.read(FOLDER / "chat-relay-bridgehub.service")
    return shlex.split(unit["Service"]["ExecStart"])


def launchd() -> list[str]:
    arguments = plistlib.loads((FOLDER / "chat-relay-bridgehub.plist").read_bytes())["ProgramArguments"]
    return [str(argument) for argument in arguments]


@pytest.mark.parametrize("command", [systemd, launchd])
def test_a_unit_starts_the_sidecar_with_options_that_it_has(command: Callable[[], list[str]], tmp_path: Path) -> None:
    (tmp_path / "bridgehub-token").write_text("secret")
    (tmp_path / "bridgehub.js").touch()
    python, dash_m, module, *options = command()
    here = [str(tmp_path / Path(option).name) if "/" in option else option for option in options]

    read = parser().parse_args(here)

    assert (Path(python).name, dash_m, module) == ("python", "-m", "infra.bridgehub")
    assert (read.token_file, read.bridgehub) == ("secret", tmp_path / "bridgehub.js")


@pytest.mark.parametrize("text", ["secret", "secret\n", "\ufeffsecret\r\n", "\u200bsecret\x00"], ids=ascii)
def test_the_token_is_what_was_meant_whatever_an_editor_has_left_around_it(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(text.encode())

    read = parser().parse_args(["--token-file", str(tmp_path / "token"), "--codex", "sh"])

    assert read.token_file == "secret"
