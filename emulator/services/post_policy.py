"""Forms for S3: the third way to sign, with a policy that says which fields and which file are allowed.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
"""

import datetime
import io
from collections.abc import Mapping
from typing import Any

from werkzeug.formparser import parse_form_data

from emulator.services.signature import Credentials, Received, Refused, verify_policy

# Every other field needs a condition. Source: the page above, "Conditions".
_NEED_NO_CONDITION = ("file", "policy", "x-amz-signature")
_IGNORED = "x-ignore-"
# moto reads these as they are written here, and S3 however they are written.
_SMALL = ("acl", "file", "key", "success_action_redirect", "success_action_status", "tagging")


def is_form(received: Received) -> bool:
    is_multipart = received.header("content-type").startswith("multipart/form-data")
    return received.method == "POST" and is_multipart and not received.query


def verify(received: Received, bucket: str, credentials: Credentials, now: datetime.datetime) -> None:
    """Check the signature of a form that is sent to `bucket`, and that it keeps to its policy. Raise Refused."""
    fields, file_bytes = _form(received)
    check(verify_policy(fields, credentials, now), {**fields, "bucket": bucket}, file_bytes)


def check(policy: Mapping[str, Any], fields: Mapping[str, str], file_bytes: int) -> None:
    """Hold the form's `fields`, `bucket` among them, and the size of its file against a policy. Raise Refused.

    Names of fields are in small letters.
    """
    named = set()
    for each in policy.get("conditions", []):
        # `{name: value}` is short for `["eq", "$name", value]`. Source: the page above, "Condition matching".
        conditions = [["eq", f"${name}", value] for name, value in each.items()] if isinstance(each, dict) else [each]
        named |= {_held(condition, fields, file_bytes) for condition in conditions}
    for name in fields:
        if name not in named and name not in _NEED_NO_CONDITION and not name.startswith(_IGNORED):
            raise Refused("AccessDenied", f"The policy has no condition for the field {name}.")


def _held(condition: list[Any], fields: Mapping[str, str], file_bytes: int) -> str:
    """Return the field that a condition is about, and holds for."""
    match condition:
        case ["content-length-range", int(least), int(most)]:
            name, holds = "file", least <= file_bytes <= most
        case ["eq", str(field), str(value)]:
            name = field.removeprefix("$").lower()
            holds = fields.get(name) == value
        case ["starts-with", str(field), str(value)]:
            name = field.removeprefix("$").lower()
            holds = fields.get(name, "").startswith(value)
        case _:
            name, holds = "", False
    if not holds:
        raise Refused("AccessDenied", f"The form does not fit the condition {condition}.")
    return name


def _form(received: Received) -> tuple[dict[str, str], int]:
    """Return the fields, their names in small letters, and the size of the file.

    Raise Refused for names by which moto would read another field than the one that is checked.
    """
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": received.header("content-type"),
        "CONTENT_LENGTH": str(len(received.body)),
        "wsgi.input": io.BytesIO(received.body),
    }
    # In memory, where the body is already: nothing is left to close.
    _, fields, files = parse_form_data(environ, stream_factory=lambda *_, **__: io.BytesIO())
    written = [name for name, _ in (*fields.items(multi=True), *files.items(multi=True))]
    small = [name.lower() for name in written]
    for name in written:
        if small.count(name.lower()) > 1 or (name.lower() in _SMALL and name not in _SMALL):
            raise Refused("AccessDenied", f"The form has the field {name} twice, or not in small letters.")
        if name in files and name != "file":  # moto keeps the last of any name
            raise Refused("AccessDenied", f"The form has a file that is called {name}.")
    content = files["file"].stream.read() if "file" in files else fields.get("file", "").encode()
    return {name.lower(): value for name, value in fields.items()}, len(content)
