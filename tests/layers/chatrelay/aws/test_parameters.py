from collections.abc import Callable, Iterator
from itertools import count

import pytest
from aws_lambda_powertools.utilities.parameters import clear_caches
from starlette.responses import JSONResponse

from chatrelay.aws.parameters import Key, Prompt, Secret
from chatrelay.domain.errors import Denied, Reason, Upstream
from emulator.services.services import Services
from emulator.stand_ins.fake_anthropic import serving_in_thread
from tests.builders.deployments import CREDENTIALS

NAMES = count(1)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets what is read be read at a url, as in an execution environment of its own."""

    def go(url: str) -> None:
        for name, value in {
            **CREDENTIALS.variables,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        clear_caches()  # type: ignore[no-untyped-call]

    yield go
    clear_caches()  # type: ignore[no-untyped-call]


@pytest.fixture
def secret(aws: Services, at: Callable[[str], None]) -> Callable[[str | bytes], str]:
    """Keeps a secret, as a text or as bytes, and gives its name."""
    at(aws.endpoint)

    def keep(value: str | bytes) -> str:
        name = f"chat-relay/parameters-{next(NAMES)}"
        kept = {"SecretBinary": value} if isinstance(value, bytes) else {"SecretString": value}
        aws.client("secretsmanager").create_secret(Name=name, **kept)
        return name

    return keep


@pytest.mark.parametrize(
    "value",
    [
        "sk-test",
        "sk-test\n",
        "sk-test\r\n",
        " sk-test\t ",
        "\ufeffsk-test\n\n",
        "\ufeff \ufeffsk-test\u200b",
        b"sk-test",
        b"\xef\xbb\xbfsk-test\r\n",
    ],
    ids=ascii,
)
async def test_a_key_is_what_was_meant_whatever_pasting_left_around_it(
    secret: Callable[[str | bytes], str], value: str | bytes
) -> None:
    """RFC 9110 5.5: no value of a header begins or ends with white space. `echo key | aws …` adds some.

    ``--secret-binary`` keeps bytes.
    """
    name = secret(value)

    assert [await Key(name)(), await Secret(name)()] == ["sk-test", "sk-test"]


@pytest.mark.parametrize("value", ["sk test", "sk\ntest", "sk-tést", "\n", "\x00", '{"key":\n"sk-test"}'])
async def test_what_could_be_no_key_is_told_without_telling_it(secret: Callable[[str], str], value: str) -> None:
    name = secret(value)

    with pytest.raises(Denied, match="The relay's key is none") as told:
        await Key(name)()

    assert (told.value.reason, told.value.said.type) == (Reason.KEY, "InvalidKey")
    assert name in told.value.said.sentence
    assert value.strip() == "" or value.strip() not in f"{told.value}{told.value.said}"


@pytest.mark.parametrize("kind", [Key, Secret])
async def test_a_secret_that_is_no_text_is_for_the_operator_to_mend(
    secret: Callable[[str | bytes], str], kind: type[Secret]
) -> None:
    name = secret("sk-test".encode("utf-16"))

    with pytest.raises(Denied, match="cannot read a key") as told:
        await kind(name)()

    assert (told.value.reason, told.value.said.type) == (Reason.KEY, "NoText")
    assert told.value.said.sentence == f"{name}: must be UTF-8"


async def test_a_secret_may_be_anything(secret: Callable[[str], str]) -> None:
    assert await Secret(secret('\n{\n  "a": "é"\n}\n'))() == '{\n  "a": "é"\n}'


async def test_a_key_that_was_changed_is_read_anew_only_when_asked(secret: Callable[[str], str], aws: Services) -> None:
    name = secret("old")
    key = Key(name)
    assert await key() == "old"

    aws.client("secretsmanager").put_secret_value(SecretId=name, SecretString="new")

    assert [await key(), await key(renew=True), await key()] == ["old", "new", "new"]


async def test_what_is_missing_is_for_the_operator_to_mend(secret: Callable[[str], str]) -> None:
    secret("another")

    with pytest.raises(Denied, match="cannot read a key") as key:
        await Key("chat-relay/none")()
    with pytest.raises(Denied, match="cannot read what it tells the model") as prompt:
        await Prompt("/chat-relay/none")()

    assert (key.value.reason, prompt.value.reason) == (Reason.KEY, Reason.SETTINGS)
    assert (key.value.said.type, key.value.said.sentence) == ("ResourceNotFoundException", "chat-relay/none")
    assert (prompt.value.said.type, prompt.value.said.sentence) == ("ParameterNotFound", "/chat-relay/none")
    assert not key.value.retryable
    assert not prompt.value.retryable


async def test_a_prompt_may_be_long(secret: Callable[[str], str], aws: Services) -> None:
    """1,300 characters of Japanese fill the 4 KB of a standard parameter; an environment could not hold them."""
    text = "日" * 1_300
    aws.client("ssm").put_parameter(Name="/chat-relay/prompt", Value=f"{text}\n", Type="String")
    secret("another")

    assert await Prompt("/chat-relay/prompt")() == text


async def test_a_prompt_that_is_kept_encrypted_is_told_to_the_model_as_it_was_written(
    secret: Callable[[str], str], aws: Services
) -> None:
    aws.client("ssm").put_parameter(Name="/chat-relay/secure", Value="Be brief.", Type="SecureString")
    secret("another")

    assert await Prompt("/chat-relay/secure")() == "Be brief."


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServiceError"])
async def test_a_bad_moment_of_the_service_passes(at: Callable[[str], None], code: str) -> None:
    with serving_in_thread(JSONResponse({"__type": code, "message": "later"}, 400)) as url:
        at(url)
        with pytest.raises(Upstream) as told:
            await Key("chat-relay/throttled")()

    assert (told.value.retryable, told.value.said.type) == (True, code)


async def test_a_service_that_cannot_be_reached_is_a_bad_moment_too(at: Callable[[str], None]) -> None:
    at("http://127.0.0.1:9")

    with pytest.raises(Upstream) as told:
        await Key("chat-relay/nowhere")()

    assert (told.value.retryable, told.value.said.type) == (True, "EndpointConnectionError")
