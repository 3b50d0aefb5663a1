"""Signatures, of requests that boto3, curl and AWS's own documents have signed."""

import base64
import datetime
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.config import Config

from emulator.services import post_policy
from emulator.services.signature import Credentials, Received, Refused, sign, verify, verify_policy

OURS = Credentials.new()
THEIRS = Credentials.new()
ADDRESS = "http://127.0.0.1:8080"
BUCKET = f"{ADDRESS}/s3"
MINUTE = datetime.timedelta(minutes=1)


class Sent(Exception):
    """Ends a call where it would go out."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        super().__init__()
        self.request = request


@cache
def client(service: str, credentials: Credentials = OURS, region: str = "us-east-1", url: str = ADDRESS) -> Any:
    made = boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
        config=Config(signature_version="s3v4" if service == "s3" else None),
    )
    made.meta.events.register("before-send", _end)
    return made


def _end(request: AWSPreparedRequest, **_: Any) -> None:
    raise Sent(request)


def sent(made: Any, operation: str, **arguments: Any) -> Received:
    """What a client would send."""
    with pytest.raises(Sent) as ended:
        getattr(made, operation)(**arguments)
    request = ended.value.request
    return received(request.method, request.url, request.headers, request.body)


def received(method: str, url: str, headers: Any = (), body: Any = b"") -> Received:
    parts = urlsplit(url)
    pairs = [(name, value.decode() if isinstance(value, bytes) else value) for name, value in dict(headers).items()]
    content = body.read() if hasattr(body, "read") else body or b""
    content = content.encode() if isinstance(content, str) else content
    return Received(method, parts.path, parts.query, [*pairs, ("Host", parts.netloc)], content)


def refusal(request: Received, service: str | None = None, at: datetime.datetime | None = None) -> str:
    """The code of a refusal; empty if there is none."""
    try:
        verify(request, service, OURS, at or now())
    except Refused as refused:
        return refused.code
    return ""


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


POST: tuple[str, str, str, dict[str, Any]] = (
    "execute-api",
    "apigatewaymanagementapi",
    "post_to_connection",
    {"ConnectionId": "L0SM9c=", "Data": b"\xff{}"},
)
CALLS: list[tuple[str, str, str, dict[str, Any]]] = [
    POST,
    ("execute-api", "apigatewaymanagementapi", "delete_connection", {"ConnectionId": "L0SM9c="}),
    (
        "lambda",
        "lambda",
        "invoke",
        {"FunctionName": "arn:aws:lambda:us-east-1:123456789012:function:f", "Payload": b"{}"},
    ),
    ("lambda", "lambda", "invoke", {"FunctionName": "f", "Qualifier": "$LATEST", "InvocationType": "Event"}),
    ("dynamodb", "dynamodb", "get_item", {"TableName": "t", "Key": {"pk": {"S": "grüße"}}}),
    ("secretsmanager", "secretsmanager", "get_secret_value", {"SecretId": "s"}),
    ("ssm", "ssm", "get_parameter", {"Name": "/a/b"}),
    ("sqs", "sqs", "send_message", {"QueueUrl": f"{ADDRESS}/123456789012/q", "MessageBody": "b"}),
    ("sns", "sns", "publish", {"TopicArn": "arn:aws:sns:us-east-1:123456789012:t", "Message": "a&b=c"}),
    ("sts", "sts", "get_caller_identity", {}),
    ("s3", "s3", "put_object", {"Bucket": "b", "Key": "a b/ü+~*'.txt", "Body": b"x", "Metadata": {"m": "a  b"}}),
    ("s3", "s3", "list_objects_v2", {"Bucket": "b", "Prefix": "a/b c+d=&"}),
    ("s3", "s3", "put_object", {"Bucket": "b", "Key": "stream", "Body": io.BytesIO(b"streamed")}),
]


@pytest.mark.parametrize(("name", "service", "operation", "arguments"), CALLS)
def test_what_boto3_signs_is_good_for_its_service_only(
    name: str, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    request = sent(client(service, url=BUCKET if service == "s3" else ADDRESS), operation, **arguments)
    assert refusal(request, name) == ""
    assert refusal(request) == ""
    assert refusal(request, "elsewhere") == "SignatureDoesNotMatch"


def changed(header: str, value: str) -> Callable[[Received], Received]:
    def change(request: Received) -> Received:
        pairs = [(name, value if name.lower() == header else old) for name, old in request.headers]
        return replace(request, headers=pairs)

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda request: replace(request, body=b"{}{}"), "SignatureDoesNotMatch"),
        (lambda request: replace(request, method="DELETE"), "SignatureDoesNotMatch"),
        (lambda request: replace(request, path="/other/@connections/x"), "SignatureDoesNotMatch"),
        (lambda request: replace(request, query="a=b"), "SignatureDoesNotMatch"),
        (lambda request: replace(request, headers=[*request.headers, ("Host", "b")]), "SignatureDoesNotMatch"),
        (lambda request: replace(request, headers=request.headers[:-1]), "SignatureDoesNotMatch"),
        (changed("host", "evil.example"), "SignatureDoesNotMatch"),
        (changed("x-amz-date", "20200101T000000Z"), "SignatureDoesNotMatch"),
        (changed("x-amz-date", ""), "SignatureDoesNotMatch"),
        (changed("x-amz-security-token", THEIRS.token), "InvalidClientTokenId"),
        (changed("x-amz-security-token", ""), "InvalidClientTokenId"),
        (changed("authorization", "Bearer abc"), "IncompleteSignature"),
        (changed("authorization", "AWS4-HMAC-SHA256 x, q=/execute-api/aws4_request"), "IncompleteSignature"),
        (changed("authorization", ""), "MissingAuthenticationToken"),
    ],
)
def test_what_was_changed_afterwards_is_refused(change: Callable[[Received], Received], code: str) -> None:
    name, service, operation, arguments = POST
    request = sent(client(service), operation, **arguments)
    assert refusal(change(request), name) == code


def test_other_keys_other_regions_and_other_times_are_refused() -> None:
    name, service, operation, arguments = POST

    def by(credentials: Credentials, region: str = "us-east-1") -> Received:
        return sent(client(service, credentials, region), operation, **arguments)

    assert refusal(by(THEIRS), name) == "InvalidClientTokenId"
    assert refusal(by(replace(OURS, secret_key=THEIRS.secret_key)), name) == "SignatureDoesNotMatch"
    assert refusal(by(replace(OURS, access_key="AKIA" + OURS.access_key[4:])), name) == "InvalidClientTokenId"
    assert refusal(by(replace(OURS, access_key=OURS.access_key_of_worker(7))), name) == ""
    assert refusal(by(OURS, "eu-central-1"), name) == "SignatureDoesNotMatch"
    assert refusal(by(OURS), name, now() + 4 * MINUTE) == ""
    assert refusal(by(OURS), name, now() + 6 * MINUTE) == "SignatureDoesNotMatch"
    assert refusal(by(OURS), name, now() - 6 * MINUTE) == "SignatureDoesNotMatch"


def test_a_body_that_is_not_the_one_that_was_signed_is_refused() -> None:
    request = sent(client("s3", url=BUCKET), "put_object", Bucket="b", Key="k", Body=b"x")
    assert refusal(replace(request, body=b"y"), "s3") == "XAmzContentSHA256Mismatch"


def test_an_unsigned_host_is_refused() -> None:
    signed = sent(client("lambda"), "invoke", FunctionName="f")
    authorization = signed.header("authorization").replace("host;", "")
    assert refusal(changed("authorization", authorization)(signed), "lambda") == "SignatureDoesNotMatch"


def test_a_presigned_address_is_good_until_it_expires_and_for_its_key_only() -> None:
    url = client("s3", url=BUCKET).generate_presigned_url(
        "get_object",
        Params={"Bucket": "b", "Key": "a b.txt", "ResponseContentDisposition": 'attachment; filename="ü b"'},
        ExpiresIn=60,
    )
    request = received("GET", url)
    assert refusal(request, "s3") == ""
    assert refusal(request, "s3", now() + 2 * MINUTE) == "SignatureDoesNotMatch"
    assert refusal(received("PUT", url), "s3") == "SignatureDoesNotMatch"
    assert refusal(received("GET", url.replace("a%20b", "other")), "s3") == "SignatureDoesNotMatch"
    assert refusal(received("GET", f"{url}&more=1"), "s3") == "SignatureDoesNotMatch"
    assert refusal(received("GET", url.replace("Expires=60", "Expires=604800")), "s3") == "SignatureDoesNotMatch"
    for wrong in ("0", "604801", "soon", "9" * 40):
        asked = received("GET", url.replace("Expires=60", f"Expires={wrong}"))
        assert refusal(asked, "s3") == "AuthorizationQueryParametersError"
    assert refusal(received("GET", f"{BUCKET}/b/k?X-Amz-Signature=1"), "s3") == "AuthorizationQueryParametersError"


@pytest.mark.parametrize("header", ["x-amz-copy-source", "X-Amz-Acl", "x-amz-tagging", "x-amz-meta-owner"])
def test_a_header_that_was_not_signed_adds_nothing_to_a_presigned_address(header: str) -> None:
    url = client("s3", url=BUCKET).generate_presigned_url("put_object", Params={"Bucket": "b", "Key": "k"})
    assert (
        refusal(received("PUT", url, {"Content-Type": "text/plain", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"})) == ""
    )
    assert refusal(received("PUT", url, {header: "/other/secret"}), "s3") == "AccessDenied"


def test_a_request_that_is_signed_anew_is_good_at_the_other_address() -> None:
    for name, service, operation, arguments in (POST, *CALLS[-3:]):
        request = sent(client(service, url=BUCKET if service == "s3" else ADDRESS), operation, **arguments)
        scope = verify(request, None, OURS, now())
        url = f"http://127.0.0.1:9999{request.path}"
        again = replace(request, headers=list(sign(request, url, scope, OURS).items()))
        assert (scope.service, refusal(again, name)) == (name, "")


def test_a_time_near_the_beginning_or_the_end_of_time_is_refused() -> None:
    url = client("s3", url=BUCKET).generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    for day in ("00010101", "99991231"):
        asked = received("GET", url.replace(f"{now():%Y%m%d}", day))
        assert refusal(asked, "s3") == "SignatureDoesNotMatch"


def form(**conditions: Any) -> dict[str, str]:
    made = client("s3", url=BUCKET).generate_presigned_post("b", "uploads/${filename}", ExpiresIn=60, **conditions)
    return {name.lower(): value for name, value in made["fields"].items()}


def test_a_form_is_good_until_it_expires_and_as_it_was_signed() -> None:
    fields = form()
    assert {"bucket": "b"} in verify_policy(fields, OURS, now())["conditions"]
    wrong = [
        ({**fields, "policy": "e30="}, now()),
        ({**fields, "policy": "nothing"}, now()),
        ({**fields, "policy": base64.b64encode(b"[" * 100_000).decode()}, now()),
        ({**fields, "x-amz-signature": "0" * 64}, now()),
        ({**fields, "x-amz-security-token": ""}, now()),
        ({**fields, "x-amz-credential": "a/b"}, now()),
        ({}, now()),
        (fields, now() + 2 * MINUTE),
    ]
    for each, at in wrong:
        with pytest.raises(Refused):
            verify_policy(each, OURS, at)
    with pytest.raises(Refused):
        verify_policy(fields, THEIRS, now())


POLICY = {
    "conditions": [
        {"bucket": "b"},
        ["starts-with", "$key", "uploads/"],
        ["eq", "$Content-Type", "image/png"],
        ["content-length-range", 1, 10],
    ]
}
FIELDS = {"bucket": "b", "key": "uploads/a.png", "content-type": "image/png", "policy": "", "x-amz-signature": ""}


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("fields", "size", "fits"),
    [
        (FIELDS, 5, True),
        ({**FIELDS, "x-ignore-me": "1"}, 5, True),
        ({**FIELDS, "bucket": "other"}, 5, False),
        ({**FIELDS, "key": "other/a.png"}, 5, False),
        ({**FIELDS, "content-type": "text/html"}, 5, False),
        ({**FIELDS, "acl": "public-read"}, 5, False),
        ({name: value for name, value in FIELDS.items() if name != "key"}, 5, False),
        (FIELDS, 0, False),
        (FIELDS, 11, False),
    ],
)
def test_a_policy_is_kept_to(fields: dict[str, str], size: int, fits: bool) -> None:
    try:
        post_policy.check(POLICY, fields, size)
    except Refused:
        assert not fits
    else:
        assert fits


def posted(parts: list[tuple[str, str]], file: str = "file") -> Received:
    """A form as it is sent, its file last."""
    disposition = '--b\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    body = "".join(disposition.format(name, "", value) for name, value in parts)
    body += disposition.format(file, '; filename="f"', "abc") + "--b--\r\n"
    return received("POST", f"{BUCKET}/b", {"Content-Type": "multipart/form-data; boundary=b"}, body)


Fields = list[tuple[str, str]]


def renamed(fields: Fields) -> Fields:
    return [("Key" if name == "key" else name, value) for name, value in fields]


@pytest.mark.parametrize(
    ("changed", "file", "fits"),
    [
        (lambda signed: signed, "file", True),
        (lambda signed: [("key", "stolen/b"), *signed], "file", False),
        (lambda signed: [("key", "stolen/b"), *renamed(signed)], "file", False),
        (renamed, "file", False),
        (lambda signed: [(name.title() if "-" in name else name, value) for name, value in signed], "file", True),
        (lambda signed: [("file", "x" * 100), *signed], "file", False),
        (lambda signed: signed, "File", False),
        (lambda signed: [*signed, ("file", "x")], "other", False),
    ],
)
def test_a_form_has_each_field_once_and_as_moto_reads_it(
    changed: Callable[[Fields], Fields], file: str, *, fits: bool
) -> None:
    """Its key is uploads/${filename}, and it expires soon."""
    sent_form = posted(changed(list(form().items())), file)
    try:
        post_policy.verify(sent_form, "b", OURS, now())
    except Refused:
        assert not fits
    else:
        assert fits


def test_a_condition_that_nobody_knows_is_no_permission() -> None:
    for condition in (["ends-with", "$key", "g"], ["eq", "$key"], "key", 7, ["content-length-range", "1", "2"]):
        with pytest.raises(Refused):
            post_policy.check({"conditions": [condition]}, {"key": "g"}, 1)


# Source: the test suite of Signature Version 4 that AWS published with its guide, aws-sig-v4-test-suite.
VECTORS = [
    ("GET", "/", "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/", "Param1=value2&Param1=value1", "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"),
    ("GET", "/", "Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("GET", "/ሴ", "", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    ("GET", "/./example", "", "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
    ("POST", "/", "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
]


@pytest.mark.parametrize(("method", "path", "query", "signature"), VECTORS)
def test_aws_documented_signatures_are_good(method: str, path: str, query: str, signature: str) -> None:
    documented = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "")
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )
    headers = [("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z"), ("Authorization", authorization)]
    at = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC)
    verify(Received(method, path, query, headers, b""), "service", documented, at)
    with pytest.raises(Refused):
        verify(Received(method, path, query, headers, b"x"), "service", documented, at)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_what_curl_signs_is_good() -> None:
    """`--aws-sigv4` is a signer that nobody of botocore wrote."""
    arrived: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.append(Received("POST", path, query, list(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        asked = Thread(target=listening.handle_request)
        asked.start()
        url = f"http://127.0.0.1:{listening.server_port}/2015-03-31/functions/f/invocations?Qualifier=1"
        signing = ["--aws-sigv4", "aws:amz:us-east-1:lambda", "--user", f"{OURS.access_key}:{OURS.secret_key}"]
        token = ["--header", f"X-Amz-Security-Token: {OURS.token}", "--data", json.dumps({"a": "ü"})]
        command = ["curl", "--silent", "--fail", "--noproxy", "*", *signing, *token, url]
        subprocess.run(command, check=True, timeout=60)  # noqa: S603
        asked.join()
    assert refusal(arrived[0], "lambda") == ""
    assert refusal(replace(arrived[0], body=b"{}"), "lambda") != ""
