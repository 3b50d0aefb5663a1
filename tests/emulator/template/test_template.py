"""What stands in a template that cannot be served is said, and not passed over."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from emulator.account import REGION
from emulator.services.services import Services, wait_until_up
from emulator.services.signature import Credentials
from emulator.serving.server import listen
from emulator.template import parsing
from emulator.template.conversions import as_number
from emulator.template.deployment import Deployment
from emulator.template.intrinsics import TemplateError
from tests.builders.serving import CONFORMANCE
from tests.emulator.template import corpus

STRICT = """
Parameters:
  Tokens: {Type: String, Default: "1", AllowedPattern: "[0-9]+", ConstraintDescription: must be a whole number.}
Rules:
  NotTooMany:
    Assertions: [{Assert: !Not [!Equals [!Ref Tokens, "7"]], AssertDescription: Seven is too many.}]
Resources: {}
"""


def serve(template: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "emulator", "--port", "0", "--template", str(template), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.parametrize(
    ("value", "sentence"),
    [("1.5", "Parameter Tokens must be a whole number. It is '1.5'."), ("7", "Seven is too many.")],
)
def test_a_value_that_the_template_does_not_take_is_refused_before_anything_is_created(
    tmp_path: Path, value: str, sentence: str
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(STRICT)
    with pytest.raises(TemplateError) as refused:
        Deployment(template, "local", {"Tokens": value}, Services("", Credentials.new()))
    assert str(refused.value) == f"template.yaml: {sentence}"


def test_a_parameter_without_a_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)  # the translator asks boto3 for it
    with pytest.raises(TemplateError, match="Records"):
        Deployment(CONFORMANCE / "template.yaml", "local", {}, Services("", Credentials.new()))


def test_what_a_template_says_is_one_line_and_no_command_of_the_terminal(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text('Resources: {"A\\nReady: http://evil/\\e[31m": {Type: AWS::X::Y}}')
    refused = serve(template)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert refused.stderr.startswith(r"emulator: template.yaml: Resources.A Ready: http://evil/\x1b[31m: is no")


@pytest.mark.parametrize(
    "aliases",
    [
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 7)),
        "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 7)),
    ],
)
def test_aliases_of_aliases_have_an_end(tmp_path: Path, aliases: str) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(f"a0: &a0 {{x: 1}}\n{aliases}")
    with pytest.raises(TemplateError, match="100,000 values"):
        parsing.parse(template, lambda _: None)


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', 'a: {"\\udc00": 1}'])
def test_half_a_character_is_refused_where_it_stands(tmp_path: Path, text: str) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(text)
    with pytest.raises(TemplateError, match="half of a character"):
        parsing.parse(template, lambda _: None)


@pytest.mark.parametrize("value", ["inf", "-Infinity", "nan", "1e999", "9" * 5000])
def test_a_number_is_one_that_can_be_counted_to(value: str) -> None:
    with pytest.raises(TemplateError, match="Timeout must be a number"):
        as_number(value, "Timeout")


@pytest.mark.parametrize(("at", "byte"), [(6, 1), (38, 0)])
def test_an_archive_that_cannot_be_opened_is_said(tmp_path: Path, at: int, byte: int) -> None:
    """Locked, by a flag in both of its headers; or damaged, in what is deflated."""
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writing:
        writing.writestr("app.py", "x = 1\n" * 100)
    content = bytearray(archive.read_bytes())
    content[at] = byte
    content[content.index(b"PK\1\2") + 8] = byte if at == 6 else 0
    archive.write_bytes(content)
    template = tmp_path / "template.yaml"
    template.write_text(
        "Resources: {F: {Type: AWS::Lambda::Function, Properties: "
        "{Code: code.zip, Handler: app.handler, Runtime: python3.13, Role: none}}}"
    )
    said = corpus.say(template, Services("", Credentials.new()))
    assert "code.zip is neither a folder nor a .zip file beside the template" in said[0]


def test_a_moto_that_does_not_start_is_said_with_its_cure() -> None:
    with listen("127.0.0.1", 0) as listening:
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(OSError, match=r"Remove \.venv"):
        wait_until_up(Services(endpoint, Credentials.new()))
