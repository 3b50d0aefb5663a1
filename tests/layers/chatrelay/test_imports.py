import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
RELAY = REPOSITORY / "layers" / "relay"
MODULES = sorted(
    str(path.relative_to(RELAY).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for path in RELAY.glob("chatrelay/**/*.py")
)
PURE = [
    *(module for module in MODULES if module.startswith(("chatrelay.domain.", "chatrelay.wire."))),
    "chatrelay.agents.accumulator",
    "chatrelay.agents.mending",
    "chatrelay.agents.output_items",
    "chatrelay.agents.refusals",
    *(module for module in MODULES if module.startswith("chatrelay.agents.requests")),
    "chatrelay.agents.retry_after",
    "chatrelay.agents.text_stream",
    "chatrelay.agents.usage",
    "chatrelay.push.payloads",
    "chatrelay.push.service",
    "chatrelay.store.attribute_values",
    "chatrelay.store.item_keys",
    "chatrelay.tokens.claims",
]
BY_THE_STANDARD_LIBRARY = {"chatrelay.wire.uploads": ["socket"]}
"""What `email` imports, and nobody here uses. These come last: after them nobody else is seen to bring it."""

PURELY = """
import importlib, sys

HEAVY = {"anthropic", "boto3", "botocore", "httpx", "httpx2", "pydantic", "asyncio", "socket"}

assert not HEAVY & sys.modules.keys()
for module in sys.argv[1:]:
    before = HEAVY & sys.modules.keys()
    importlib.import_module(module)
    print(module, *sorted((HEAVY & sys.modules.keys()) - before))
"""

QUIETLY = """
import importlib, sys
import anthropic, anthropic.lib.streaming, boto3, botocore.config, httpx2
import asyncio, base64, hashlib, json, secrets, uuid

LOUD = ("socket.", "subprocess.", "shutil.", "os.putenv", "os.mkdir", "os.remove", "os.rename")

def audit(event, arguments):
    code = event == "open" and str(arguments[0]).rpartition(".")[2].startswith(("py", "pyc"))
    if event.startswith(LOUD) or (event == "open" and not code):
        sys.exit(f"{event} {arguments}")

sys.addaudithook(audit)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(len(sys.argv[1:]))
"""


def python(code: str, *arguments: str, path: list[Path]) -> subprocess.CompletedProcess[str]:
    """Runs `code` as a Lambda environment would: nothing in the environment but where to import from."""
    environment = {"PYTHONPATH": ":".join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603


@pytest.mark.parametrize("function", ["authorizer", "connect", "disconnect", "control", "failed"])
def test_a_light_function_imports_no_heavy_package(function: str) -> None:
    heavy = "{'anthropic', 'boto3', 'cryptography', 'jwt', 'multipart', 'pydantic', 'httpx', 'httpx2'}"
    code = f"import app, sys; print(*sorted({heavy} & sys.modules.keys()))"

    ran = python(code, path=[REPOSITORY / "functions" / function, RELAY])

    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "", "")


def test_what_checks_tokens_brings_cryptography_and_no_other_heavy_package() -> None:
    heavy = "{'anthropic', 'cryptography', 'httpx', 'httpx2', 'jwt', 'multipart', 'pydantic'}"
    code = f"import app, chatrelay.tokens.tokens, sys; print(*sorted({heavy} & sys.modules.keys()))"

    ran = python(code, path=[REPOSITORY / "functions" / "authorizer", RELAY])

    assert (ran.returncode, ran.stdout.strip(), ran.stderr) == (0, "cryptography jwt", "")


def test_the_function_that_talks_to_the_model_has_it_imported_before_its_first_event() -> None:
    ran = python(
        "import app, sys; print({'anthropic', 'boto3'} <= sys.modules.keys())",
        path=[REPOSITORY / "functions" / "message", RELAY],
    )

    assert (ran.returncode, ran.stdout.strip()) == (0, "True"), ran.stderr


def test_a_pure_module_imports_no_client() -> None:
    """One process imports one after the other, so that what is heavy is told of the first that brings it."""
    ran = python(PURELY, *sorted(PURE, key=BY_THE_STANDARD_LIBRARY.__contains__), path=[RELAY])

    assert (ran.returncode, ran.stderr) == (0, "")
    brought = {module: names for module, *names in map(str.split, ran.stdout.splitlines())}
    assert brought.keys() == set(PURE)
    assert {module: names for module, names in brought.items() if names} == BY_THE_STANDARD_LIBRARY


def test_importing_the_package_opens_and_reads_nothing() -> None:
    ran = python(QUIETLY, *MODULES, path=[RELAY])

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{len(MODULES)}\n", "")
