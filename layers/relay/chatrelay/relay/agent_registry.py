"""The agents of this deployment, by name."""

from collections.abc import Callable, Mapping

from chatrelay.agents import Agent
from chatrelay.domain.errors import NoSuchAgent, Reason, Refused, Said


class AgentRegistry:
    """The agents, each built for its first message: an agent with wrong settings takes no other agent down."""

    def __init__(self, agents: Mapping[str, Callable[[], Agent]]) -> None:
        self._agents = agents

    def check(self, name: str) -> None:
        """Raise ``NoSuchAgent`` if this deployment has no agent of that name."""
        if name not in self._agents:
            raise NoSuchAgent(name)

    def build(self, name: str) -> Agent:
        """Return the agent.

        Raise ``Refused`` if the deployment has lost the agent since a message was accepted, and ``Denied`` if its
        settings cannot work.
        """
        if name not in self._agents:
            raise Refused(str(NoSuchAgent(name)))
        try:
            return self._agents[name]()
        except Exception as problem:  # agents are built of their settings alone, so a setting is at fault
            from chatrelay.agents import refusals  # whose patterns no light function shall compile

            said = Said(type=type(problem).__name__, sentence=str(problem))
            raise refusals.denied(name.capitalize(), Reason.SETTINGS, said) from problem
