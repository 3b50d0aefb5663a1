"""Where processor time goes, by package: of what a function imports, and of what a process does, by sampling it."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

PY_SPY = Path(sys.executable).with_name("py-spy")
STANDARD = "the standard library"
RATE = 100
"""Samples a second."""


def of_imports(told: str) -> dict[str, float]:
    """Return the share of each package in what ``python -X importtime`` has `told`, the largest first."""
    taken: Counter[str] = Counter()
    for line in told.splitlines():
        own_us, _, module = line.removeprefix("import time:").split("|") if line.count("|") == 2 else ("", "", "")
        if own_us.strip().isdigit():
            taken[_package(module.strip().partition(".")[0])] += int(own_us)
    return _shares(taken)


async def of_process(pid: int, seconds: float, folder: Path, picture: Path | None = None) -> dict[str, float]:
    """Return the share of each package in what a process does for so long, the largest first; waiting does not count.

    A sample counts for the package whose code is innermost. `folder` is for files in between; a `picture` gets a flame
    graph of what the process does afterwards, as long again.
    """
    samples = folder / f"{pid}.txt"
    await _record(pid, seconds, "raw", samples)
    if picture is not None:
        await _record(pid, seconds, "flamegraph", picture)
    return of_samples(samples.read_text(encoding="utf-8").splitlines())


async def _record(pid: int, seconds: float, kind: str, output: Path) -> None:
    command = ["record", "--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(RATE), "--format", kind]
    # What it is called with is the picture's title: no path of this machine shall be in it.
    process = await asyncio.create_subprocess_exec(
        PY_SPY.name,
        *command,
        "--output",
        output.name,
        executable=PY_SPY,
        cwd=output.parent,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaint = await process.communicate()
    if process.returncode:
        raise OSError(complaint.decode())


def of_samples(lines: Iterable[str]) -> dict[str, float]:
    """Return the share of each package in py-spy's raw samples: frames from the outermost on, and how often."""
    taken: Counter[str] = Counter()
    for line in lines:
        stack, _, times = line.rpartition(" ")
        innermost = stack.rpartition(";")[2]
        path = innermost.rpartition("(")[2].partition(":")[0]
        taken[_package(path.partition("/")[0].removesuffix(".py"))] += int(times)
    return _shares(taken)


def told(shares: Mapping[str, float], most: int = 8) -> str:
    """Return a sentence's worth of the largest shares."""
    return ", ".join(f"{package} {share:.0%}" for package, share in [*shares.items()][:most])


def _package(name: str) -> str:
    # What is native has no file.
    return STANDARD if not name or name in sys.stdlib_module_names or name.startswith("<") else name


def _shares(taken: Counter[str]) -> dict[str, float]:
    return {name: count / max(1, taken.total()) for name, count in taken.most_common()}
