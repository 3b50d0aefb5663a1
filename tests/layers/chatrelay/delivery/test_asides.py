from chatrelay.delivery.asides import MOST_WAITING, Asides
from chatrelay.domain.reply import Aside
from chatrelay.domain.text import json_bytes

ROOM_BYTES = 100


def thinking(content: str) -> Aside:
    return Aside("thinking", content)


def tool(content: str) -> Aside:
    return Aside("tool", content)


def taken(asides: Asides) -> list[tuple[int, Aside]]:
    found = []
    while (place := asides.place) is not None:
        found.append((place, asides.take()))
    return found


def test_asides_keep_their_order_and_thinking_gathers_where_it_belongs() -> None:
    asides = Asides(ROOM_BYTES)
    for index, aside in [
        (0, thinking("Hm, ")),
        (0, thinking("well.")),
        (0, tool("Searching")),
        (0, tool("Found")),
        (0, thinking("So ")),
        (7, thinking("then")),
    ]:
        asides.add(index, aside)

    assert taken(asides) == [
        (0, thinking("Hm, well.")),
        (0, tool("Searching")),
        (0, tool("Found")),
        (0, thinking("So ")),
        (7, thinking("then")),
    ]


def test_what_waits_is_bounded() -> None:
    asides = Asides(ROOM_BYTES)
    for index in range(100):
        for _ in range(100):
            asides.add(index, thinking('"早'))
        asides.add(index, tool("x" * 1000))

    found = taken(asides)

    assert len(found) == MOST_WAITING
    assert max(json_bytes(aside.content) for _, aside in found) == ROOM_BYTES
