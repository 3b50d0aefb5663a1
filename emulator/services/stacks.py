"""CloudFormation's description of the stack that is served: its outputs.

moto would import every service that it has for its first stack, which takes two seconds of a processor. So the served
stack is kept here, and every other one is moto's.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl
from uuid import uuid4
from xml.sax.saxutils import escape

from emulator.account import ACCOUNT, REGION

_XMLNS = "http://cloudformation.amazonaws.com/doc/2010-05-15/"


def template(outputs: Mapping[str, str]) -> str:
    """Return the template of a stack that is kept here: it has outputs alone, which AWS itself would refuse."""
    return json.dumps({"Outputs": {name: {"Value": value} for name, value in outputs.items()}})


class Stacks:
    """The stacks that are kept here."""

    def __init__(self) -> None:
        self._described: dict[str, str] = {}

    def answer(self, body: bytes) -> str | None:
        """Return the XML that answers a request to CloudFormation; None if it is for moto."""
        match dict(parse_qsl(body.decode("latin-1"))):
            case {"Action": "CreateStack", "StackName": name, "TemplateBody": text} if _is_kept(text):
                stack_id = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{uuid4()}"
                self._described[name] = _description(name, stack_id, json.loads(text)["Outputs"])
                return _response("CreateStack", f"<StackId>{escape(stack_id)}</StackId>")
            case {"Action": "DescribeStacks", "StackName": name} if name in self._described:
                return _response("DescribeStacks", f"<Stacks>{self._described[name]}</Stacks>")
        return None


def _is_kept(text: str) -> bool:
    try:
        written = json.loads(text)
    except ValueError:  # YAML
        return False
    return isinstance(written, dict) and written.keys() == {"Outputs"}


def _description(name: str, stack_id: str, outputs: Mapping[str, Mapping[str, str]]) -> str:
    told = "".join(
        f"<member><OutputKey>{escape(key)}</OutputKey><OutputValue>{escape(output['Value'])}</OutputValue></member>"
        for key, output in outputs.items()
    )
    return (
        f"<member><StackId>{escape(stack_id)}</StackId><StackName>{escape(name)}</StackName>"
        f"<CreationTime>{datetime.now(UTC).isoformat()}</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>"
        f"<Outputs>{told}</Outputs></member>"
    )


def _response(action: str, result: str) -> str:
    return f'<{action}Response xmlns="{_XMLNS}"><{action}Result>{result}</{action}Result></{action}Response>'
