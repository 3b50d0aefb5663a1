"""The credentials of a gateway that runs, as it tells of them."""

import configparser
from collections.abc import Iterable
from pathlib import Path

from emulator.services.signature import Credentials

_TOLD = "Credentials: AWS_SHARED_CREDENTIALS_FILE="


def file_of(lines: Iterable[str]) -> Path:
    """The file that the lines of a gateway name."""
    (file,) = (line.removeprefix(_TOLD) for line in lines if line.startswith(_TOLD))
    return Path(file)


def read(lines: Iterable[str]) -> Credentials:
    """What is in that file."""
    parser = configparser.ConfigParser()
    parser.read_string(file_of(lines).read_text())
    return Credentials.of({name.upper(): value for name, value in parser["default"].items()})
