"""What stands in a template that cannot be served is said, and not passed over."""

import subprocess
import sys
from pathlib import Path

NEWER = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Dream:
    Type: AWS::Serverless::Dream
"""


def test_a_type_that_the_translator_does_not_know_is_named(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(NEWER)
    command = [sys.executable, "-m", "infra.local", "--port", "0", "--template", str(template)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert refused.returncode == 1
    assert refused.stderr == (
        "infra.local: template.yaml: Dream: this SAM translator does not know AWS::Serverless::Dream\n"
    )
