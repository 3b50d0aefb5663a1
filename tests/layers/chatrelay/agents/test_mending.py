from collections.abc import AsyncGenerator, Sequence

import pytest

from chatrelay.agents.mending import Mending
from chatrelay.domain.attachments import Attachment
from chatrelay.domain.errors import Denied, Overloaded, ReplyError, Said, TooLong, Unaccepted
from chatrelay.domain.log import NewTry, Written
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Amended, Room, Turn, plain
from tests.builders.written import text, thought

ENDING = Ending("end_turn", "m", {"output_tokens": 1}, [])
PICTURE = (Attachment("0" * 32, "a.png", "image/png", 6),)
TURNS = [
    Turn("1", "one", [], 40, PICTURE),
    Turn("2", "two", [{"type": "text", "text": "2"}], 30),
    Turn("3", "three", [{"type": "server_tool_use", "id": "s1"}], 20),
    Turn("4", "four", [], 10, PICTURE),
]
UNACCEPTED = Unaccepted("No.", said=Said(400, "invalid_request_error"))
UNTYPED = Unaccepted("No.", said=Said(400))


class Service:
    """An agent that answers like `answers`, one after the other: with an error, or after some events with one."""

    room = Room(1000)
    model = "m"

    def __init__(self, *answers: ReplyError | Sequence[Written | Ending | ReplyError]) -> None:
        self.asked: list[list[Turn]] = []
        self._answers = list(answers)

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[Written | Ending]:
        assert conversation == "talk"
        self.asked.append(list(turns))
        answer = self._answers.pop(0)
        for event in [answer] if isinstance(answer, ReplyError) else answer:
            if isinstance(event, ReplyError):
                raise event
            yield event


async def told(agent: Mending, turns: Sequence[Turn] = TURNS) -> list[object]:
    return [event async for event in agent.answer("talk", turns)]


def too_long(fits: float = 0.8) -> TooLong:
    return TooLong("Too long.", fits=fits)


async def test_what_is_taken_is_asked_for_once() -> None:
    service = Service([text("Hi"), ENDING])

    assert await told(Mending(service)) == [text("Hi"), ENDING]
    assert (service.asked, Mending(service).room) == ([TURNS], Room(1000))


async def test_a_request_that_is_too_long_is_made_again_with_half_of_what_fits() -> None:
    service = Service(too_long(), [text("Hi"), ENDING])

    assert await told(Mending(service)) == [NewTry(), Amended("3"), text("Hi"), ENDING]
    assert [[turn.key for turn in asked] for asked in service.asked] == [["1", "2", "3", "4"], ["3", "4"]]


async def test_a_message_that_is_too_long_by_itself_is_told_so() -> None:
    service = Service(*[too_long()] * 3)

    with pytest.raises(TooLong):
        await told(Mending(service))

    assert [len(asked) for asked in service.asked] == [4, 2, 1]


async def test_a_request_that_is_not_taken_is_made_again_plain_then_with_the_message_alone() -> None:
    service = Service(UNACCEPTED, UNACCEPTED, [thought("Hm"), text("Hi"), ENDING])

    assert await told(Mending(service)) == [NewTry(), NewTry(), Amended("4"), thought("Hm"), text("Hi"), ENDING]
    assert service.asked == [TURNS, plain(TURNS), TURNS[3:]]


async def test_what_is_remembered_of_a_plain_history_is_how_far_it_goes() -> None:
    assert await told(Mending(Service(UNACCEPTED, [ENDING]))) == [NewTry(), Amended("1", "3"), ENDING]


@pytest.mark.parametrize("refusals", [[UNTYPED], [UNTYPED, UNACCEPTED], [UNACCEPTED, UNTYPED]])
async def test_a_refusal_without_a_type_is_mended_and_not_remembered(refusals: list[Unaccepted]) -> None:
    tries = [NewTry()] * len(refusals)
    assert await told(Mending(Service(*refusals, [text("Hi"), ENDING]))) == [*tries, text("Hi"), ENDING]


async def test_a_message_that_is_not_taken_by_itself_is_refused() -> None:
    service = Service(*[UNACCEPTED] * 3)

    with pytest.raises(Unaccepted):
        await told(Mending(service))

    assert len(service.asked) == 3


@pytest.mark.parametrize("refusal", [UNACCEPTED, too_long()])
async def test_the_first_message_is_refused_at_once(refusal: ReplyError) -> None:
    service = Service(refusal)

    with pytest.raises(type(refusal)):
        await told(Mending(service), TURNS[3:])


async def test_nothing_is_asked_twice_that_would_be_the_same() -> None:
    texts = [Turn("1", "one", [{"type": "thinking"}, {"type": "text", "text": "1"}], 5), Turn("2", "two", [], 5)]
    service = Service(UNACCEPTED, UNACCEPTED)

    with pytest.raises(Unaccepted):
        await told(Mending(service), texts)

    assert service.asked == [texts, texts[1:]]


async def test_a_model_that_reads_text_only_is_never_told_a_plainer_history() -> None:
    service = Service(UNACCEPTED, [ENDING])

    assert await told(Mending(service, reads_text_only=True)) == [NewTry(), Amended("4"), ENDING]


async def test_a_limit_that_the_message_alone_is_over_is_final() -> None:
    with pytest.raises(TooLong):
        await told(Mending(Service(too_long(0))))


@pytest.mark.parametrize("refusal", [UNACCEPTED, too_long()])
async def test_nobody_is_asked_again_after_the_first_text(refusal: ReplyError) -> None:
    with pytest.raises(type(refusal)):
        await told(Mending(Service([text("So"), refusal])))


async def test_thoughts_are_no_text() -> None:
    begun = thought("Hm")

    assert await told(Mending(Service([begun, UNACCEPTED], [ENDING]))) == [begun, NewTry(), Amended("1", "3"), ENDING]


@pytest.mark.parametrize("problem", [Overloaded("Busy."), Denied("No key.")])
async def test_no_other_request_mends_what_is_not_the_requests_fault(problem: ReplyError) -> None:
    service = Service(problem)

    with pytest.raises(type(problem)):
        await told(Mending(service))

    assert len(service.asked) == 1


async def test_another_failure_of_the_second_try_is_told_as_what_it_is() -> None:
    with pytest.raises(Overloaded):
        await told(Mending(Service(too_long(), Overloaded("Busy."))))
