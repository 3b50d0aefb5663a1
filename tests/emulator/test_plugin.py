"""What a template's folder adds to the emulator, and what is said of a plugin that cannot be used."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from emulator.plugin import Plugin, PluginError, load
from tests.builders.patience import PATIENCE_S
from tests.builders.serving import REPOSITORY, Serving

TEMPLATE = """
Parameters:
  Word: {Type: String, Default: unsaid}
Resources:
  Words:
    Type: AWS::SSM::Parameter
    Properties: {Type: String, Value: !Ref Word, Name: /words}
"""
PLUGIN = """
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from emulator.plugin import Plugin
from strangers_words import SUFFIX


def plugin(address):
    kept = {}

    async def prepare(stack, services):
        kept["word"] = services.parameter(stack.resources["Words"])

    def parameters(given):
        return {"Word": "heard", **given}

    route = Route("/stranger", lambda _: PlainTextResponse(kept["word"] + SUFFIX))
    return Plugin(routes=[route], parameters=parameters, prepare=prepare, banner=[f"Stranger: {address}"])
"""
"""The module that a stranger's pyproject.toml names, and that imports another one of theirs."""


def stranger(folder: Path, project: str) -> Path:
    """Write a stranger's folder, and give its template."""
    (folder / "code").mkdir()
    (folder / "code" / "strangers_plugin.py").write_text(PLUGIN)
    (folder / "code" / "strangers_words.py").write_text('SUFFIX = "!"')
    (folder / "pyproject.toml").write_text(project)
    template = folder / "template.yaml"
    template.write_text(TEMPLATE)
    return template


@contextmanager
def served(template: Path) -> Iterator[list[str]]:
    """Serve it, and give the lines that are printed until it is ready."""
    command = [sys.executable, "-m", "emulator", "--template", str(template), "--port", "0"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)  # noqa: S603
    with process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or not lines[-1].startswith("Ready: "):
                lines.append(process.stdout.readline().rstrip())
                assert lines[-1], lines
            yield lines
        finally:
            process.terminate()
    assert process.returncode == 0


def test_what_a_strangers_folder_names_is_added(tmp_path: Path) -> None:
    template = stranger(tmp_path, '[tool.emulator]\nplugin = "strangers_plugin"\npythonpath = ["code"]\n')
    with served(template) as lines:
        address = lines[-1].removeprefix("Ready: ").rstrip("/")
        assert f"Stranger: {address.removeprefix('http://')}" in lines
        assert httpx.get(f"{address}/stranger", timeout=PATIENCE_S).text == "heard!"


def test_a_folder_that_names_none_has_none(tmp_path: Path) -> None:
    assert load(stranger(tmp_path, '[project]\nname = "stranger"\n'), "127.0.0.1:1") == Plugin()


def test_what_has_none_is_served_without(gateway: Serving) -> None:
    """The templates of conformance have no such file beside them."""
    assert httpx.get(gateway.http("stranger")).status_code == 404
    assert not [line for line in gateway.printed if line.startswith(("Stranger", "Development API key", "Playground"))]


def test_a_folder_without_the_file_has_none(tmp_path: Path) -> None:
    assert load(tmp_path / "template.yaml", "127.0.0.1:1") == Plugin()


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ("[tool", "is no TOML"),
        ("[tool]\nemulator = 1", "[tool] emulator: must be a table"),
        ("[tool.emulator]\nplugins = 1", "[tool.emulator] plugins: no such field. There are: plugin, pythonpath"),
        ("[tool.emulator]\nplugin = 1", "[tool.emulator] plugin: must be the name of a module"),
        ("[tool.emulator]\npythonpath = 'code'", "[tool.emulator] pythonpath: must be a list of folders"),
        ("[tool.emulator]\npythonpath = ['gone']", "[tool.emulator] pythonpath: gone is no folder"),
        ("[tool.emulator]\nplugin = 'not_there'", "plugin: not_there cannot be imported: ModuleNotFoundError"),
        (
            "[tool.emulator]\nplugin = 'raises'\npythonpath = ['code']",
            "raises cannot be imported: KeyError: 'x'",
        ),
        ("[tool.emulator]\nplugin = 'empty'\npythonpath = ['code']", "plugin: empty has no function `plugin`"),
        ("[tool.emulator]\nplugin = 'other'\npythonpath = ['code']", "plugin: other.plugin must return a Plugin"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_a_line_with_the_file_and_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: str, said: str
) -> None:
    template = stranger(tmp_path, project)
    (tmp_path / "code" / "raises.py").write_text('{}["x"]')
    (tmp_path / "code" / "empty.py").write_text("")
    (tmp_path / "code" / "other.py").write_text("plugin = dict")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(PluginError) as error:
        load(template, "")
    assert str(error.value).startswith(f"{tmp_path / 'pyproject.toml'}: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
