"""What stands in a template that cannot be served is said, and not passed over."""

from pathlib import Path

import pytest

from infra.local.intrinsics import TemplateError
from infra.local.template import read

NEWER = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Dream:
    Type: AWS::Serverless::QuantumFunction
"""


def test_a_type_that_the_translator_does_not_know_is_named(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(NEWER)
    with pytest.raises(
        TemplateError, match="Dream: this SAM translator does not know AWS::Serverless::QuantumFunction"
    ):
        read(template, {})
