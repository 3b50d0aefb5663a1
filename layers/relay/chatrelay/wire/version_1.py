"""This project's own protocol, version 1."""

from chatrelay.domain.log import KINDS, Log
from chatrelay.wire import fields
from chatrelay.wire.dialect import Dialect, Pacing
from chatrelay.wire.inbound import Defaults, Inbound, parse_action
from chatrelay.wire.outbound import Outbound


class Version1(Dialect):
    """The dialect in which every frame names its ``action``, and every frame of a reply its ids and its place."""

    name = "v1"
    # A post takes 10-30 ms. Frames may come as close together as they like: their offsets say where text belongs.
    pacing = Pacing(min_interval_s=0.040, quiet_s=0.0)
    tells_replies_apart = True
    kinds = KINDS

    def parse(self, body: str | None, defaults: Defaults) -> Inbound:
        return parse_action(fields.json_object(body), defaults.agent)

    def ending(self, last: Outbound, log: Log) -> Outbound:  # noqa: ARG002 - all of it is known here
        return last

    def adapt(self, frame: Outbound) -> Outbound:
        return frame
