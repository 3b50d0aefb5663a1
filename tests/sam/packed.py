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
STALE = re.compile(r"^# bytecode is stale for (?P<module>\S+)", re.MULTILINE)
"""What `python -v` says."""
START = """
import importlib.util, pathlib, sys
for path in sorted(pathlib.Path(sys.argv[1]).glob("*/app.py")):
    found = importlib.util.spec_from_file_location(path.parent.name, path)
    found.loader.exec_module(importlib.util.module_from_spec(found))
import chatrelay.agents.claude, chatrelay.agents.codex, chatrelay.agents.mending, chatrelay.agents.openai
import chatrelay.notifier, chatrelay.push.apns, chatrelay.push.fcm, chatrelay.push.line, chatrelay.parameters
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--start", metavar="PYTHON")
    options = parser.parse_args()
    problems = []
    with tempfile.TemporaryDirectory() as opt:
        for folder in options.folders:
            with zip_folder(str(folder), zip_method=make_zip_with_lambda_permissions) as (path, _):
                problems += _wrong_in(folder.name, zipfile.ZipFile(path))
                if options.start:
                    _unpack(zipfile.ZipFile(path), Path(opt))
        if options.start:
            problems += _compiled(options.start, Path(opt))
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _wrong_in(name: str, packed: zipfile.ZipFile) -> list[str]:
    names = set(packed.namelist())
    code = {each for each in names if each.endswith(".pyc")}
    sources = {each for each in names if each.endswith(".py")}
    problems = [f"{name}: {each} is not compiled" for each in sorted(sources) if _code_of(each) not in code]
    for each in sorted(code):
        (flags,) = struct.unpack("<I", packed.read(each)[4:8])
        if flags != UNCHECKED:
            problems.append(f"{name}: {each} has flags {flags}: it is stale as soon as it is unpacked")
    print(f"{name}: {len(sources)} sources, {len(code)} of byte code, {len(problems)} problems")
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


def _compiled(python: str, opt: Path) -> list[str]:
    shell = {"PATH": os.environ["PATH"], "PYTHONPATH": str(opt / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    shell |= {"AWS_DEFAULT_REGION": "us-east-1", "POWERTOOLS_SERVICE_NAME": "x", "POWERTOOLS_METRICS_NAMESPACE": "x"}
    command = [python, "-v", "-c", START, str(REPOSITORY / "functions")]
    ran = subprocess.run(command, env=shell, capture_output=True, text=True, check=False)  # noqa: S603
    if ran.returncode != 0:
        return [f"the functions do not start: {ran.stderr.strip().splitlines()[-1]}"]
    stale = [f"stale: {each['module']}" for each in STALE.finditer(ran.stderr)]
    compiled = [
        f"compiled: {each['source']}" for each in FROM_SOURCE.finditer(ran.stderr) if str(opt) in each["source"]
    ]
    used = ran.stderr.count(f"matches {opt}")
    print(f"started: {used} modules by their byte code, {len(compiled)} compiled, {len(stale)} stale")
    return stale + compiled + ([] if used else ["no module of the layers was loaded"])


if __name__ == "__main__":
    sys.exit(main())
