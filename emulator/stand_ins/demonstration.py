"""The answers that play when there is no model to ask: friendly, varied, and honest about being a script.

They are a function of the request, so a conversation can be played again and reads the same.
"""

import json
import random
from collections.abc import Iterator
from itertools import chain
from typing import Any

from emulator.stand_ins.script import (
    Pause,
    Script,
    Send,
    Step,
    answer,
    blocks,
    cut_after,
    fail_after,
    found_block,
    refuse,
    search_block,
    stall_after,
    text_block,
    thinking_block,
)

FIRST_S = 0.6
QUOTE_CHARS = 280

OPENINGS = (
    "Hello! I am a **demonstration**, not a language model: a script writes these words. You said:",
    "Nice to hear from you. There is no model behind me – this is a **demonstration** – but your words "
    "did make the whole way here and back:",
    "Thank you! I should be honest: I am the **demonstration** script, and I do not understand a word. "
    "I can quote, though:",
)

TABLE = """\
Here is a small table, so that you can watch one being drawn:

| Stop on the way | What happens there | Takes |
| --- | --- | ---: |
| Your phone | the message gets an id and leaves | 1 ms |
| The gateway | checks who you are, hands the message on | 9 ms |
| The function | keeps it, then asks the model | 12 ms |
| The model | thinks, then writes a few letters at a time | 600 ms |
| Your phone, again | puts the letters where they belong | 1 ms |

The numbers are invented. The *real* ones are in the panel beside this chat, if your screen is wide."""

CODE = """\
Some code, to see how a block looks while it is still open:

```python
from collections.abc import Iterable


def assemble(frames: Iterable[tuple[int, str]]) -> str:
    \"\"\"Put text together by offset: what is known already is trimmed, a gap is refused.\"\"\"
    text = ""
    for offset, content in frames:
        if offset > len(text):
            raise ValueError(f"missing {offset - len(text)} characters")
        text += content[len(text) - offset :]
    return text
```

Call it with `assemble([(0, "Hel"), (2, "llo")])` and you get `"Hello"`: the *l* that came twice
is there once."""

LIST = """\
Three things to try here:

- **Scroll up** while I write. The page stops following, and a button brings you back.
- **Close the lid**, or switch off your network for a moment. The page reconnects by itself.
- **Send two messages** quickly. They are answered in order:
  1. the first one first,
  2. then the second."""

EMOJI = """\
A little colour, and some characters that are easily cut in half on the way:

- Weather: ☀️ 🌤️ ⛈️ 🌈
- A family that is *one* character made of seven: 👨‍👩‍👧‍👦
- Flags, made of two halves each: 🇯🇵 🇫🇮 🇧🇷
- And a wave back 👋🏽

If you see no broken boxes between them, nothing was lost."""

CJK = """\
流れる水は腐らず。 *Running water does not go bad*, as they say in Japan.

- 中文：文字一个接一个地流过来，一个也不少。
- 日本語：文字がひとつずつ、流れるように届きます。
- 한국어: 글자가 하나씩, 빠짐없이 도착합니다.

Every one of these characters is three bytes on the wire and one step for the cursor 🌊."""

QUOTATION = """\
> The art of writing is the art of applying the seat of the pants to the seat of the chair.

That was Mary Heaton Vorse. I have neither, so I am given one line at a time, and a short pause after each. \
You can ask me for a *table*, some *code*, a *list*, *emoji*, 中文, or something *long*."""

LONG = """\
Very well, a long one. Make yourself comfortable: it is the story of one message.

## 1. It leaves

You press Enter. Before anything else happens, your page gives the message a name of its own, an **id** that \
nobody else will ever use. It looks like a detail. It is the reason why everything after this can go wrong \
and still end well: whoever sees the same id twice knows that it is the same message, and answers it once.

Then the message is put in a frame, which is a short piece of JSON:

```json
{
  "action": "send",
  "id": "8c0e6a1e",
  "conversation": "tea",
  "content": "How do I make good tea?"
}
```

The frame goes through a socket that has been open since you came here. There is no new connection, no \
handshake, no waiting. One small packet, a few milliseconds.

## 2. It is kept

The first thing that the other side does is **not** to ask the model. It writes the message down. Only when \
that is done does it say so, and you see *“Claude is typing…”*. From here on the message survives:

- your phone's battery,
- the train's tunnel,
- the end of the function that was going to answer it.

A promise is only worth something if it is made after the work is done. 🫖

## 3. It is answered

The model does not write an answer and then send it. It sends each word as it finds it. Between two of them \
pass five milliseconds, or fifty; sometimes it hesitates, and then three come together. If every one of them \
were posted to you by itself, the posts would soon be slower than the words, and you would read further and \
further in the past. So whatever gathers while one post is under way travels in the next one:

| While this is on its way | this gathers | and goes next |
| --- | --- | --- |
| `First` | ` you warm` | ` you warm` |
| ` you warm` | ` the pot, then` | ` the pot, then` |
| ` the pot, then` | ` you wait.` | ` you wait.` |

Nobody counts frames on the other end. What counts is the **offset**: each piece says where in the text it \
belongs. A piece that comes twice is trimmed. A piece that is missing leaves a gap, and a gap is noticed.

## 4. It arrives

Here is what your page does with each piece, in order:

1. It looks at the *epoch*: did a newer writer take over? Then the old one is not listened to any more.
2. It looks at the offset, and trims what it has already.
3. It appends the rest, and draws the text again – the way you see it now, tables half drawn and all.

And at the very end comes a frame with two numbers: how long the text is, and its SHA-256. Your page \
computes both by itself and compares. If they agree, you see a tick ✓ below this text. It does not mean \
that what I say is true. It means that it is *exactly* what I said.

## 5. What if …

*… the socket dies in the middle?* The page opens another and asks for the rest from where it is.

*… the function dies?* Then somebody notices that its heart has stopped, the answer is closed as \
**interrupted**, and what had been written stays. You may ask again with the same id.

*… your phone is in your pocket?* Then the answer is finished all the same, and a notification tells you \
that it is there.

That is all. 一期一会 – one meeting, one chance – is a fine rule for tea. For messages, it is better to have \
a second one."""

RIDDLE = """\
Nobody has told it, so here it is:

> I am sent before I am finished, and read before I am whole. \
Lose a piece of me, and you know exactly which.

*A streamed reply.* What a model does between its texts stands where it did it: unfold the lines above, and follow the \
links below. All of it is part of one log, so it is here again after a reload."""

THOUGHT = """\
A riddle is wanted. It should be short, and its answer should be something that is before the reader's eyes.

A reply that streams is a good answer: it arrives in pieces, and every piece knows its place. So the riddle could \
speak of something that is read before it is whole.

I had better make sure that nobody has told this one before. A search will do. And I must not forget to say that I am \
a script, and that all of this thinking was written down beforehand."""

DOUBT = """\
A riddle like that may be well known. Let me see whether somebody has told it already."""

SEARCHES = (
    (
        "riddles about streams",
        (
            ("A brief history of riddles", "https://riddles.example/history"),
            ("Riddles of rivers, rain and everything that runs", "https://www.running-water.example/riddles"),
        ),
    ),
    (
        "read before it is whole",
        (
            ("What is read before it is whole?", "https://riddles.example/whole"),
            ("How text travels: streams, pieces and places", "https://notes.typesetting.example/how-text-travels"),
            ("Letters that arrived in parts", "https://archive.letters.example/1871/parts"),
        ),
    ),
)
"""What is looked up before each text, and the titles and addresses that are found."""
SEARCH_S = 1.2
WRITTEN = {"text_delta": "text", "thinking_delta": "thinking"}
"""What a model writes bit by bit, by the type of delta that brings it."""

PIECES = (TABLE, CODE, LIST, EMOJI, CJK, QUOTATION)

WISHES = (
    (("long", "story"), LONG),
    (("think", "riddle"), RIDDLE),
    (("table",), TABLE),
    (("code", "python", "function", "program"), CODE),
    (("list", "steps"), LIST),
    (("emoji", "smile"), EMOJI),
    (("中", "日本", "한", "chinese", "japanese", "korean"), CJK),
)

FAULTS = {
    "/overloaded": refuse(529, message="Overloaded"),
    "/limit": refuse(429, message="Rate limited", headers={"retry-after": "5"}),
    "/cut": cut_after("This connection will be cut in the middle of a", pause_s=0.05),
    "/fail": fail_after("The service reports that it is overloaded in the middle of a", pause_s=0.05),
    "/stall": stall_after("And now nothing more comes, for as long as you care to", pause_s=0.05),
    "/refusal": answer("I would rather not go on with", pause_s=0.05, stop_reason="refusal"),
}


def demonstration(body: dict[str, Any]) -> Script:
    """Return a scripted answer to a Messages API request. A message that is a word of `FAULTS` shows that fault."""
    words, attachments = _words(body["messages"][-1]["content"])
    # What was asked before and got no answer stands in the same turn, above.
    command = words.rpartition("\n")[2]
    if command in FAULTS:
        return FAULTS[command]
    chance = random.Random(json.dumps(body["messages"], sort_keys=True))  # noqa: S311 - must repeat itself
    asked = words.lower()
    wished = next((piece for signs, piece in WISHES if any(sign in asked for sign in signs)), None)
    quoted = words if len(words) <= QUOTE_CHARS else words[:QUOTE_CHARS].rstrip() + " …"
    seen = f"With it came {attachments} attachment{'s' * (attachments > 1)}, which I cannot look at."
    paragraphs = (
        chance.choice(OPENINGS),
        "\n".join(f"> {line}".rstrip() for line in quoted.splitlines()),
        seen if attachments else "",
        wished or chance.choice(PIECES),
        _memory(body["messages"]),
    )
    text = "\n\n".join(filter(None, paragraphs))
    if RIDDLE in paragraphs:
        script = _thoughtful(text.partition(RIDDLE)[0] + DOUBT, text[text.index(RIDDLE) :], body)
    else:
        script = answer(text, delta_chars=len(text))
    first = Pause(FIRST_S + chance.uniform(-0.1, 0.1))
    return Script((first, *chain.from_iterable(_uneven(step, chance) for step in script.steps)))


def _words(content: str | list[dict[str, Any]]) -> tuple[str, int]:
    """Return the text of a turn, and how many blocks of other kinds it has."""
    if isinstance(content, str):
        return content.strip(), 0
    texts = [block["text"] for block in content if block["type"] == "text"]
    return "\n\n".join(texts).strip(), len(content) - len(texts)


def _memory(messages: list[dict[str, Any]]) -> str:
    asked = [_words(message["content"])[0] for message in messages if message["role"] == "user"]
    if len(asked) == 1:
        return "*This was the first message of our conversation. Set `ANTHROPIC_API_KEY` to talk to Claude.*"
    before = " ".join(asked[-2].split())
    shown = before if len(before) <= 60 else before[:60].rstrip() + " …"
    return f"*That was message {len(asked)} of yours in this conversation. The one before it was “{shown}”.*"


def _thoughtful(doubt: str, told: str, body: dict[str, Any]) -> Script:
    """Return two texts, and before them what the request allows of thinking and searching; the second cites a page."""
    steps = thinking_block(THOUGHT, len(THOUGHT), 0) if "thinking" in body else []
    index = len(steps) and 1
    for text, (query, pages) in zip((doubt, told), SEARCHES, strict=True):
        use, cited = f"srvtoolu_{index}", []
        if "tools" in body:
            found = [
                {"type": "web_search_result", "title": title, "url": url, "encrypted_content": "", "page_age": None}
                for title, url in pages
            ]
            steps += [*search_block(index, use, query), Pause(SEARCH_S), *found_block(index + 1, use, found)]
            index += 2
            cited = [_citation(*page) for page in pages if text == told]
        steps += text_block(index, text, *cited, delta_chars=len(text))
        index += 1
    return blocks(*steps)


def _citation(title: str, url: str) -> dict[str, Any]:
    place = {"type": "web_search_result_location", "title": title, "url": url}
    return {**place, "cited_text": title, "encrypted_index": ""}


def _uneven(step: Step, chance: random.Random) -> Iterator[Step]:
    """Write a step in pieces of uneven size and in uneven time, as a model does."""
    delta = step.event.get("delta", {}) if isinstance(step, Send) else {}
    field = WRITTEN.get(delta.get("type", ""))
    if field is None or not isinstance(step, Send):
        yield step
        return
    at, written = 0, delta[field]
    while at < len(written):
        chars = chance.randint(2, 12)
        yield Pause(chance.uniform(0.010, 0.040))
        yield Send({**step.event, "delta": {**delta, field: written[at : at + chars]}})
        at += chars
