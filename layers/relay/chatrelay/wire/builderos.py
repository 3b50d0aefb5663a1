"""The BuilderOS app's protocol, which existed before this project's own, and stays as it is.

A bare key as the first frame, a configuration frame, messages without an ``action``. Frames with an ``action`` are
those of version 1.
"""

from dataclasses import replace

from chatrelay.domain.log import Kind, Log
from chatrelay.wire import fields, outbound
from chatrelay.wire.dialect import Dialect, Pacing
from chatrelay.wire.inbound import Configuration, Defaults, Inbound, Send, parse_action
from chatrelay.wire.limits import CONVERSATION_LIMIT
from chatrelay.wire.outbound import Outbound

AUTHENTICATED = "authenticated"
INVALID_API_KEY = "error:invalid_api_key"
"""The bare texts that answer a key: the app takes any text that begins with ``error:`` for an error."""


NEWER = frozenset(("cost", "part", "parts", "reason"))
OF_LOGS = frozenset(("length", "sha256"))
OF_QUESTIONS = frozenset(("reply",))


class BuilderOs(Dialect):
    """The dialect of the app, which reads ``type``, ``content`` and ``timestamp`` of a frame, and nothing else.

    The app renders 100 ms after a frame, and forgets a text that was followed by another before that: hence the pacing.
    """

    name = "builderos"
    pacing = Pacing(min_interval_s=0.150, quiet_s=0.150)  # 100 ms for the app, 50 for the network to squeeze
    tells_replies_apart = False
    kinds = frozenset[Kind](("message",))  # the app ignores all others, and each would cost its reader a quiet time

    def parse(self, body: str | None, defaults: Defaults) -> Inbound:
        frame = fields.json_object(body)
        if fields.given(frame, "action") is not None:
            return parse_action(frame, defaults.agent)
        attachments = fields.attachments(frame)
        # A message may name the directory as well; a configuration says nothing else.
        if "working_directory" in frame and fields.given(frame, "content") is None and not attachments:
            return Configuration()
        is_jarvis = frame.get("chat_type") == "jarvis"  # the app's name for Claude
        return Send(
            id=defaults.message_id,  # the app gives its messages none
            conversation=fields.optional_name(frame, "session_id", CONVERSATION_LIMIT) or defaults.conversation,
            content=fields.content(frame, attachments),
            agent="claude" if is_jarvis else fields.agent_in(frame, "chat_type", defaults.agent),
            attachments=attachments,
        )

    def ending(self, last: Outbound, log: Log) -> Outbound:
        """Return the last frame, with the length and the hash of the texts: the app knows of no other parts."""
        texts = Log(part for part in log.parts if part.kind in self.kinds)
        return self.adapt(replace(last, fields=last.fields | outbound.proof(texts)))

    def adapt(self, frame: Outbound) -> Outbound:
        """Return `frame` without the fields that are newer than the app, which stay out of its frames."""
        newer = NEWER
        if frame.type == "error":
            newer |= OF_LOGS if "epoch" in frame.fields else OF_QUESTIONS
        if not newer & frame.fields.keys():
            return frame
        return replace(frame, fields={name: value for name, value in frame.fields.items() if name not in newer})
