import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx
import pytest

from chatrelay.aws.files import Files
from chatrelay.domain.attachments import IMAGE_LIMIT_BYTES, Attachment
from chatrelay.domain.errors import Forbidden, Interrupted, InvalidMessage, TooLarge, Unavailable
from chatrelay.domain.turns import Room, Turn
from chatrelay.wire.inbound import Send
from emulator.services.services import Services
from tests.builders.deployments import CREDENTIALS

ROOM = Room(tokens=1000)
PNG = b"\x89PNG\r\n\x1a\n" + b"picture"
NAMES = [
    "photo.png",
    "../../etc/passwd",
    "..",
    "a/b\\c.txt",
    "Grüße 早上 😀?&=#%41.pdf",
    "-rf *",
    "\u202egpj.exe",
    "a" * 255,
]


def message(*ids: str) -> Send:
    return Send("m1", "talk", "look", "claude", tuple(map(Attachment, ids)))


def checked(files: Files, id: str, user: str = "alice") -> Attachment:  # noqa: A002
    (attachment,) = files.checked(user, message(id)).attachments
    return attachment


def kept(files: Files, content: bytes = PNG, filename: str = "photo.png") -> Attachment:
    return checked(files, files.keep("alice", filename, "image/png", content))


def loaded(files: Files, *attachments: Attachment, user: str = "alice") -> list[bytes | None]:
    (turn,) = files.load(user, [Turn("1", "look", attachments=attachments)], ROOM)
    return [file.content for file in turn.files]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_found_again_under_the_name_it_had(files: Files, name: str) -> None:
    id_ = files.keep("alice", name, "image/png", PNG)

    assert checked(files, id_) == Attachment(id_, name, "image/png", len(PNG))
    assert loaded(files, checked(files, id_)) == [PNG]
    assert httpx.get(files.address("alice", id_)).content == PNG


def test_an_address_gives_the_type_and_the_name_that_the_file_came_with(files: Files) -> None:
    answer = httpx.get(files.address("alice", files.keep("alice", "Grüße.png", "image/png", PNG)))

    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "inline; filename*=UTF-8''Gr%C3%BC%C3%9Fe.png"


@pytest.mark.parametrize("user", ["bob", "..", "alic", "alice%2E", "."])
def test_a_file_is_its_users_alone(files: Files, user: str) -> None:
    attachment = kept(files)

    with pytest.raises(Forbidden) as theirs:
        files.address(user, attachment.id)
    with pytest.raises(Forbidden) as nobodys:
        files.address(user, "0" * 32)
    with pytest.raises(Forbidden):
        files.checked(user, message(attachment.id))
    assert str(theirs.value) == str(nobodys.value)
    assert loaded(files, attachment, user=user) == [None]


def test_a_form_takes_exactly_the_file_it_was_made_for(files: Files) -> None:
    form = files.form("alice", "../photo.png", "image/png", len(PNG))

    assert httpx.post(form.url, data=form.fields, files={"file": PNG}).status_code == 204
    assert checked(files, form.id) == Attachment(form.id, "../photo.png", "image/png", len(PNG))
    conditions = json.loads(base64.b64decode(form.fields["policy"]))["conditions"]
    assert {"Content-Type": "image/png"} in conditions
    assert ["content-length-range", len(PNG), len(PNG)] in conditions


def test_addresses_given_away_name_the_bucket_s_region_and_are_good_for_a_minute(
    aws: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside us-east-1 the global ones redirect while a bucket is new."""
    for name, value in {**CREDENTIALS.variables, "AWS_DEFAULT_REGION": "eu-central-1"}.items():
        monkeypatch.setenv(name, value)
    form = Files.connect("chat").form("alice", "photo.png", "image/png", 1)
    assert urlsplit(form.url).hostname == "chat.s3.eu-central-1.amazonaws.com"

    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    files = Files.connect(aws.create("AWS::S3::Bucket", "files-of-mine", {}).ref)
    address = files.address("alice", files.keep("alice", "photo.png", "image/png", PNG))
    assert httpx.get(address).content == PNG
    assert parse_qs(urlsplit(address).query)["X-Amz-Expires"] == ["60"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"PK\x03\x04 a zip archive\0", InvalidMessage),
        (b"\xff\xfeU\0T\0F\0-\x001\x006\0", InvalidMessage),
        (b"text " * 60_000, InvalidMessage),
        (PNG + bytes(IMAGE_LIMIT_BYTES), TooLarge),
    ],
    ids=["a zip archive", "UTF-16", "a text too long", "a picture too large"],
)
def test_what_no_model_reads_is_refused_by_name(files: Files, content: bytes, problem: type[Exception]) -> None:
    with pytest.raises(problem, match=r"attachments: strange\.png: "):
        kept(files, content, "strange.png")


def test_a_file_that_is_gone_is_gone_and_the_others_are_not(files: Files) -> None:
    first, second = kept(files), kept(files, b"text", "notes.txt")

    assert loaded(files, first, Attachment("0" * 32, "gone.png", "image/png", 5), second) == [PNG, None, b"text"]


def test_the_latest_files_are_loaded_as_far_as_a_request_has_room(files: Files) -> None:
    old, new = kept(files), kept(files, b"new", "new.txt")
    large = Attachment("0" * 32, "large.pdf", "application/pdf", ROOM.files.size - 3)
    turns = [Turn(str(number), "look", attachments=(each,)) for number, each in enumerate((old, large, new))]

    assert [turn.files[0].content for turn in files.load("alice", turns, ROOM)] == [None, None, b"new"]


def test_the_latest_pictures_are_loaded_as_many_as_a_request_may_have(files: Files) -> None:
    pictures = [kept(files) for _ in range(21)]
    turns = [Turn(str(number), "look", attachments=(each,)) for number, each in enumerate(pictures)]

    assert [turn.files[0].content for turn in files.load("alice", turns, ROOM)] == [None] + [PNG] * 20


def test_a_service_that_cannot_be_asked_is_no_missing_file(files: Files) -> None:
    attachment = kept(files)
    nowhere = boto3.client("s3", endpoint_url="http://127.0.0.1:9", aws_access_key_id="x", aws_secret_access_key="x")
    unreachable = Files(nowhere, "chat")

    with pytest.raises(Interrupted):
        loaded(unreachable, attachment)
    with pytest.raises(Unavailable):
        unreachable.checked("alice", message(attachment.id))


def test_a_form_runs_out_in_ten_minutes_whoever_is_revoked_meanwhile(files: Files) -> None:
    form = files.form("alice", "a.txt", "text/plain", 1)

    policy = json.loads(base64.b64decode(form.fields["policy"]))
    left = datetime.fromisoformat(policy["expiration"]) - datetime.now(UTC)
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)
