"""docs/operator.md: its commands, and what they print, without what differs from run to run.

``RECORD=1`` in the environment writes what is printed anew: read the diff before it is committed.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator
from hashlib import sha256

from tests.builders.deployments import REPOSITORY
from tests.infra.conftest import Ran
from tests.system.normal_form import difference

PAGE = REPOSITORY / "docs" / "operator.md"
PROMPT = "$ operator "
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d|T)")
MONTH = re.compile(r"\d{4}-\d\d(?!\d|-)")
REPLY = re.compile(r"\b[0-9a-f]{32}\b")
NEW_KEY = re.compile(r"crk_[\w-]{43}")
NEW_KEY_ID = re.compile(r"(?<=`keys revoke )[0-9a-f]{12}")


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command on the page."""
    for block in BLOCK.findall(page):
        for line in block.splitlines():
            if line.startswith(PROMPT):
                yield shlex.split(line.removeprefix(PROMPT))


def recorded(operator: Callable[..., Ran]) -> str:
    """Run the page's commands in their order. Return the lines that differ; empty if none does."""
    page, names = PAGE.read_text(encoding="utf-8"), dict[str, str]()

    def run(block: re.Match[str]) -> str:
        shown = ""
        for line in block[0].splitlines():
            if line.startswith(PROMPT):
                ran = operator(*shlex.split(line.removeprefix(PROMPT)))
                shown += f"{line}\n{_normal(ran.out + ran.err, names)}"
        return shown

    seen = BLOCK.sub(run, page)
    if os.environ.get("RECORD"):
        PAGE.write_text(seen, encoding="utf-8")
        return ""
    return difference(page, seen)


def _normal(printed: str, names: dict[str, str]) -> str:
    """Return what is printed with the same times and ids in every run, each as long as its own."""

    def named(reply: re.Match[str]) -> str:
        return names.setdefault(reply[0], sha256(str(len(names)).encode()).hexdigest()[:32])

    for pattern, constant in (
        (NEW_KEY, "crk_" + "…" * 3),
        (NEW_KEY_ID, "9c0e2f1b7a64"),
        (TIME, "2026-11-28T12:00:00Z"),
        (DAY, "2026-11-28"),
        (MONTH, "2026-11"),
    ):
        printed = pattern.sub(constant, printed)
    return REPLY.sub(named, printed)
