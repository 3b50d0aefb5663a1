"""What stands in a template that cannot be served is said, and not passed over."""

import subprocess
import sys
from pathlib import Path

import pytest

STRICT = """
Parameters:
  Tokens: {Type: String, Default: "1", AllowedPattern: "[0-9]+", ConstraintDescription: must be a whole number.}
Rules:
  NotTooMany:
    Assertions: [{Assert: !Not [!Equals [!Ref Tokens, "7"]], AssertDescription: Seven is too many.}]
Resources: {}
"""


def serve(template: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "infra.local", "--port", "0", "--template", str(template), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.parametrize(
    ("value", "sentence"),
    [("1.5", "Parameter Tokens must be a whole number. It is '1.5'."), ("7", "Seven is too many.")],
)
def test_a_value_that_the_template_does_not_take_is_refused_before_anything_starts(
    tmp_path: Path, value: str, sentence: str
) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(STRICT)
    refused = serve(template, "--parameter", f"Tokens={value}")
    assert (refused.returncode, refused.stderr) == (1, f"infra.local: template.yaml: {sentence}\n")


def test_what_a_template_says_is_one_line_and_no_command_of_the_terminal(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text('Resources: {"A\\nReady: http://evil/\\e[31m": {Type: AWS::X::Y}}')
    refused = serve(template)
    assert refused.returncode == 1
    assert refused.stderr.startswith(r"infra.local: template.yaml: Resources.A Ready: http://evil/\x1b[31m: is no")
