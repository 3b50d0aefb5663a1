import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.domain import attachments
from chatrelay.domain.attachments import Attachment, Loaded, as_block, as_text, file_id, identified, key, name_in
from chatrelay.domain.errors import InvalidMessage, TooLarge

ID = "0123456789abcdef0123456789abcdef"
JPEG = b"\xff\xd8\xff\xe0"
WEBP = b"RIFF\n\n\n\nWEBPVP8 "


@pytest.mark.parametrize(
    "url",
    [
        f"/api/files/{ID}",
        f"https://relay.example/api/files/{ID}",
        f"http://127.0.0.1:8080/api/files/{ID}",
        f"https://an.old.address/api/files/{ID}?size=small#top",
    ],
)
def test_a_url_of_ours_means_its_file_whatever_its_host(url: str) -> None:
    assert file_id(url) == ID


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.org/picture.png",
        f"https://example.org/?/api/files/{ID}",
        f"/api/files/{ID}/../{ID}",
        f"/api/files/{ID}/",
        f"/api/files/{ID}%0A",
        f"/api/files/../files/{ID}",
        f"/api/files/{ID.upper()}",
        "/api/files/",
        f"/api/files/..%2f{ID}",
        "http://[",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        ID,
    ],
)
def test_any_other_url_means_nothing(url: str) -> None:
    assert file_id(url) is None


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_key_has_no_path_in_it_and_the_whole_name(user: str, name: str) -> None:
    try:
        (user + name).encode()
    except UnicodeEncodeError:  # half a surrogate pair does not come in: see ``text.whole``
        return
    made = key(user, ID, name)

    assert made.count("/") == 2
    assert "." not in made
    assert name_in(made) == name


def test_the_longest_key_is_one_that_s3_takes() -> None:
    attachments.must_be_name("é" * 127)
    assert len(key("." * 64, ID, "é" * 127)) <= 1024
    with pytest.raises(InvalidMessage, match="filename"):
        attachments.must_be_name("é" * 128)


FIRST_BYTES = json.loads((Path(__file__).parent / "first_bytes.json").read_text())
"""What files begin with, in Latin-1, and what they are: the page decides it alike, see ``readable.test.mjs``."""


@pytest.mark.parametrize("row", FIRST_BYTES, ids=lambda row: f"{row['bytes']!a} {row['times']} {row['then']!a}")
def test_the_bytes_say_what_a_file_is(row: dict[str, Any]) -> None:
    beginning = (row["bytes"] * row["times"] + row["then"]).encode("latin-1")
    if row["type"] is None:
        with pytest.raises(InvalidMessage, match=r"holiday\.heic: only JPEG"):
            identified(ID, "holiday.heic", 9, beginning)
    else:
        assert identified(ID, "holiday.heic", 9, beginning) == Attachment(ID, "holiday.heic", row["type"], 9)


@pytest.mark.parametrize(("beginning", "limit"), [(JPEG, 3_932_160), (b"%PDF-1", 10_485_760)], ids=["JPEG", "PDF"])
def test_a_file_has_the_size_that_the_model_s_service_takes(beginning: bytes, limit: int) -> None:
    assert identified(ID, "a", limit, beginning).size == limit
    with pytest.raises(TooLarge):
        identified(ID, "a", limit + 1, beginning)


def test_an_image_in_base64_has_at_most_5_mb() -> None:
    assert len(base64.b64encode(bytes(attachments.IMAGE_LIMIT_BYTES))) <= 5 * 1024 * 1024


def test_a_picture_becomes_an_image() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "cGl4ZWxz"}
    assert as_block(Loaded(Attachment(ID, "a.png", "image/png", 6), b"pixels")) == {"type": "image", "source": source}


def test_a_pdf_becomes_a_document() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}
    loaded = Loaded(Attachment(ID, "a.pdf", "application/pdf", 4), b"%PDF")
    assert as_block(loaded) == {"type": "document", "source": source, "title": "a.pdf"}


def test_a_text_becomes_a_text_with_its_name() -> None:
    loaded = Loaded(Attachment(ID, "a.txt", "text/plain", 6), "漢字".encode())
    assert as_block(loaded) == {"type": "text", "text": "a.txt:\n\n漢字"}


def test_what_is_gone_becomes_a_text_that_says_so() -> None:
    loaded = Loaded(Attachment(ID, "a.png", "image/png", 6), None)
    assert as_block(loaded) == {"type": "text", "text": "[a.png was attached here and is no longer available.]"}


def test_a_picture_is_a_name_to_who_reads_only_text() -> None:
    loaded = Loaded(Attachment(ID, "a.png", "image/png", 6), b"pixels")
    assert as_text(loaded) == "[a.png (image/png) is attached and cannot be shown here.]"
