import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.domain.errors import InvalidMessage, TooLarge
from chatrelay.wire.uploads import Asked, Posted, parse_asked, parse_upload

FORM = "multipart/form-data; boundary=limit"


def part(name: str, content: bytes, filename: str | None = None, mime_type: str = "image/png") -> bytes:
    named = "" if filename is None else f'; filename="{filename}"\r\nContent-Type: {mime_type}'
    return f'--limit\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--limit--\r\n"


@pytest.mark.parametrize("filename", ["photo.png", "../../etc/passwd", "Grüße 早上.png", "a;b=c.png", "..", "%41.png"])
def test_a_file_is_read_as_the_app_posts_it(filename: str) -> None:
    body = form(part("type", b"image"), part("file", b"\x00\r\n--limi\xff", filename))

    assert parse_upload(body, FORM) == Posted(filename, "image/png", b"\x00\r\n--limi\xff")


HEADERS = b'Content-Disposition: form-data; name="file"; filename="a.png"'
CONTENT = b"\x00\r\n--bn\r\n\xff"
TYPE = b"Content-Type: image/png"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--bnd \t\r\n%s\r\n%s\r\n\r\n%s\r\n--bnd--\r\n", "multipart/form-data; boundary=bnd"),
        (b"--bnd\r\n%s\r\n%s\r\n\r\n%s\r\n--bnd-- \r\n", "multipart/form-data; boundary=bnd"),
        (b"--bnd\r\n%s\r\n%s\r\n\r\n%s\r\n--bnd--", "multipart/form-data; boundary=bnd"),
        (b"before\r\n--bnd\r\n%s\r\n%s\r\n\r\n%s\r\n--bnd--\r\nafter", "multipart/form-data; boundary=bnd"),
        (b"--bnd\r\n%s\r\n%s\r\n\r\n%s\r\n--bnd--\r\n", 'Multipart/Form-Data; charset=utf-8; boundary="bnd"'),
        (b"--bnd\r\n%s\r\n%s\r\n\r\n%s\r\n--bnd--\r\n", "multipart/form-data;\r\n boundary=bnd"),
    ],
    ids=["after a boundary", "after the last", "no line end", "preamble and epilogue", "quoted", "folded"],
)
def test_what_a_grammar_allows_around_a_file_changes_nothing(body: bytes, content_type: str) -> None:
    """RFC 2046 5.1.1: white space after a boundary, and what stands before the first and after the last one."""
    assert parse_upload(body % (HEADERS, TYPE, CONTENT), content_type) == Posted("a.png", "image/png", CONTENT)


@pytest.mark.parametrize(
    "headers",
    [
        b'Content-Disposition: form-data;\r\n name="file";\r\n\tfilename="a.png"\r\n' + TYPE,
        b"content-disposition:form-data;name=file;filename=a.png\r\ncontent-type:image/png",
        TYPE + b"; charset=binary\r\n" + HEADERS,
        HEADERS + b"\r\nX-Other: \xff\r\n" + TYPE,
    ],
    ids=["folded", "tight", "the other order", "with another"],
)
def test_a_part_says_what_it_is_in_any_way_that_headers_allow(headers: bytes) -> None:
    """RFC 5322 2.2.3: a header may go on in the next line."""
    assert parse_upload(form(b"--limit\r\n%s\r\n\r\n%s\r\n" % (headers, CONTENT)), FORM) == Posted(
        "a.png", "image/png", CONTENT
    )


@pytest.mark.parametrize("mime_type", ["message/rfc822", "multipart/mixed; boundary=in", "message/delivery-status"])
def test_a_mail_is_a_file_like_any_other(mime_type: str) -> None:
    mail = b"Subject: Hi\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\nx\r\n--in--\r\n"

    assert parse_upload(form(part("file", mail, "a.eml", mime_type)), FORM).content == mail


@pytest.mark.parametrize(("encoding", "content"), [("base64", b"hi"), ("binary", b"aGk="), ("8bit", b"aGk=")])
def test_a_part_that_says_how_it_is_encoded_is_decoded(encoding: str, content: bytes) -> None:
    headers = HEADERS + b"\r\n" + TYPE + b"\r\nContent-Transfer-Encoding: " + encoding.encode()

    assert parse_upload(form(b"--limit\r\n%s\r\n\r\naGk=\r\n" % headers), FORM).content == content


@given(st.binary(min_size=1, max_size=300))
def test_the_bytes_of_a_file_are_kept(content: bytes) -> None:
    assert parse_upload(form(part("file", content, "a.bin")), FORM).content == content


def test_a_strange_type_is_an_unknown_one() -> None:
    body = form(part("file", b"x", "a", mime_type="früh"))
    assert parse_upload(body, FORM).mime_type == "application/octet-stream"


@pytest.mark.parametrize(
    ("body", "content_type", "field"),
    [
        (form(part("type", b"image")), FORM, "file"),
        (form(part("file", b"x")), FORM, "file"),
        (form(part("file", b"", "a.png")), FORM, "file"),
        (form(part("file", b"x", "漢" * 86)), FORM, "filename"),
        (form(part("file", b"x", "a.png"))[:-9], FORM, "body"),
        (b"", FORM, "body"),
        (b"{}", "application/json", "body"),
        (b"x", "", "body"),
        (b"x", "multipart/form-data", "body"),
    ],
)
def test_what_is_no_upload_is_told_by_field(body: bytes, content_type: str, field: str) -> None:
    with pytest.raises(InvalidMessage) as told:
        parse_upload(body, content_type)
    assert told.value.field == field


def test_an_upload_beyond_what_a_function_takes_is_sent_to_the_other_door() -> None:
    assert len(parse_upload(form(part("file", bytes(4_500_000), "a")), FORM).content) == 4_500_000
    with pytest.raises(TooLarge, match="POST /api/files"):
        parse_upload(form(part("file", bytes(4_500_001), "a")), FORM)


def asked(**fields: object) -> dict[str, object]:
    return {"filename": "a.pdf", "mime_type": "application/pdf", "size": 5} | fields


def test_a_form_is_asked_for() -> None:
    assert parse_asked(asked()) == Asked("a.pdf", "application/pdf", 5)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "filename"),
        (asked(filename=" "), "filename"),
        (asked(mime_type=None), "mime_type"),
        (asked(mime_type="pdf"), "mime_type"),
        (asked(mime_type="a/b\r\nx: y"), "mime_type"),
        (asked(size=0), "size"),
        (asked(size="5"), "size"),
        (asked(size=True), "size"),
        (asked(size=5.5), "size"),
    ],
)
def test_what_is_no_request_for_a_form_is_told_by_field(body: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidMessage) as told:
        parse_asked(body)
    assert told.value.field == field


def test_a_file_that_no_model_could_read_gets_no_form() -> None:
    with pytest.raises(TooLarge, match="size"):
        parse_asked(asked(size=10 * 1024 * 1024 + 1))
