"""Packs layers as the SAM command line does, and looks whether Lambda would use the byte code in them.

`python tests/sam/packed.py FOLDER…`, by the Python in which the SAM command line is: what it packs with is no
public interface. With `--start PYTHON` the layers are unpacked as Lambda has them, and all functions are imported there
by that Python, for whose platform they must be built: nothing of a layer may be compiled.
"""

import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from samcli.lib.package.utils import (  # type: ignore[import-not-found]
    make_zip_with_lambda_permissions,
    zip_folder,
)

REPOSITORY = Path(__file__).resolve().parents[2]
UNCHECKED = 0b01
"""Byte code that does not ask for its source. Source: PEP 552, which has the flags in the second word of a file."""
FROM_SOURCE = re.compile(r"^# code object from '?(?P<source>\S+\.py)'?$", re.MULTILINE)
FROM_BYTE_CODE = re.compile(r"^# code object from '?(?P<code>\S+\.pyc)'?$", re.MULTILINE)
STALE = re.compile(r"^# bytecode is stale for (?P<module>\S+)", re.MULTILINE)
"""What `python -v` says."""
START = """
import importlib, importlib.util, pathlib, pkgutil, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("*/app.py")):
    found = importlib.util.spec_from_file_location(path.parent.name, path)
    found.loader.exec_module(importlib.util.module_from_spec(found))
import chatrelay
from botocore.config import Config
from chatrelay.aws.session import client
from chatrelay.domain.prices import Prices
for module in pkgutil.walk_packages(chatrelay.__path__, "chatrelay."):
    importlib.import_module(module.name)
for service in sys.argv[2:]:
    client(service, Config())
assert Prices.read("").cost("claude-sonnet-4-6", {}) == 0, "prices.json is not packed"
"""
CLIENT = re.compile(r'\bclient\(\s*"(\w+)"')
OF_POWERTOOLS = {"get_secret": "secretsmanager", "get_parameter": "ssm"}
"""Functions of Powertools, and the service that each asks."""
DESCRIPTIONS = re.compile(r"python/botocore/data/(\w+)/")
LARGEST_MB = 60
"""Of a layer, unzipped: it is fetched and unpacked before a function starts."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--start", metavar="PYTHON")
    options = parser.parse_args()
    problems: list[str] = []
    services = _services()
    with tempfile.TemporaryDirectory() as opt:
        for folder in options.folders:
            with zip_folder(str(folder), zip_method=make_zip_with_lambda_permissions) as (path, _):
                problems += _wrong_in(folder.name, zipfile.ZipFile(path), services)
                if options.start:
                    _unpack(zipfile.ZipFile(path), Path(opt))
        if options.start:
            problems += _compiled(options.start, Path(opt), services)
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _services() -> list[str]:
    """The services of AWS that functions ask."""
    code = [
        path.read_text() for folder in ("functions", "layers/relay") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    asked = {service for text in code for service in CLIENT.findall(text)}
    return sorted(asked | {name for call, name in OF_POWERTOOLS.items() if any(call in text for text in code)})


def _wrong_in(layer: str, packed: zipfile.ZipFile, services: list[str]) -> list[str]:
    names = set(packed.namelist())
    code = {each for each in names if each.endswith(".pyc")}
    sources = {each for each in names if each.endswith(".py")}
    problems = [f"{layer}: {each} is not compiled" for each in sorted(sources) if _code_of(each) not in code]
    for each in sorted(code):
        (flags,) = struct.unpack("<I", packed.read(each)[4:8])
        if flags != UNCHECKED:
            problems.append(f"{layer}: {each} has flags {flags}: it is stale as soon as it is unpacked")
    described = {match[1] for each in names if (match := DESCRIPTIONS.match(each))}
    if described and described != {*services}:
        problems.append(
            f"{layer}: SERVICES in layers/dependencies/Makefile are {described}, and functions ask {services}"
        )
    size_mb = sum(entry.file_size for entry in packed.infolist()) / 1e6
    if size_mb > LARGEST_MB:
        problems.append(f"{layer}: has {size_mb:.0f} MB unzipped, and {LARGEST_MB} at most is meant")
    print(f"{layer}: {size_mb:.0f} MB, {len(sources)} sources, {len(code)} of byte code, {len(problems)} problems")
    return problems


def _code_of(source: str) -> str:
    folder, _, name = source.rpartition("/")
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.cpython-313.pyc"


def _unpack(packed: zipfile.ZipFile, folder: Path) -> None:
    """With the dates in the archive, as `unzip` and Lambda do it and Python does not."""
    packed.extractall(folder)
    for entry in packed.infolist():
        dated = time.mktime((*entry.date_time, 0, 0, -1))
        os.utime(folder / entry.filename, (dated, dated))


def _compiled(python: str, opt: Path, services: list[str]) -> list[str]:
    shell = {"PATH": os.environ["PATH"], "PYTHONPATH": str(opt / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    shell |= {"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_SERVICE_NAME": "x", "POWERTOOLS_METRICS_NAMESPACE": "x"}
    command = [python, "-v", "-c", START, str(REPOSITORY / "functions"), *services]
    ran = subprocess.run(command, env=shell, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode != 0:
        return [f"the functions do not start: {ran.stderr.strip().splitlines()[-1]}"]
    stale = [f"stale: {each['module']}" for each in STALE.finditer(ran.stderr)]
    compiled = [
        f"compiled: {each['source']}" for each in FROM_SOURCE.finditer(ran.stderr) if str(opt) in each["source"]
    ]
    used = sum(str(opt) in each["code"] for each in FROM_BYTE_CODE.finditer(ran.stderr))
    print(f"started: {used} modules by their byte code, {len(compiled)} compiled, {len(stale)} stale")
    return stale + compiled + ([] if used else ["no module of the layers was loaded"])


if __name__ == "__main__":
    sys.exit(main())
