"""What whoever runs this project here can do about a reply that failed: the page and the terminal say it."""

from chatrelay.domain.errors import Reason

_AGAIN = "and start `make run` again"
_SERVICES = {
    "anthropic": {"name": "Anthropic", "variable": "ANTHROPIC_API_KEY", "model": "--parameter ClaudeModel=…"},
    "openai": {"name": "OpenAI", "variable": "OPENAI_API_KEY", "model": "--parameter CodexModel=…"},
    "bridgehub": {"name": "BridgeHub", "variable": "BRIDGEHUB_TOKEN", "model": "the settings of its command line"},
}
"""What can be set of a service behind an agent."""
_CURES = {
    Reason.KEY: f"{{name}} refused the key of this relay. Check {{variable}} {_AGAIN}.",
    Reason.ACCOUNT: (
        "{name} says that this account is used up or closed. Add credit there, or raise its limit, and send the message"
        " again."
    ),
    Reason.PERMISSION: (
        f"{{name}} does not let this key do that. Check what the key in {{variable}} may do, or take another {_AGAIN}."
    ),
    Reason.MODEL: (
        "{name} does not have the model that this relay asks for, or not for this key. Name another with {model}, and"
        " start the gateway again."
    ),
    Reason.SETTINGS: (
        "{name} cannot be asked with what is set here. Check {variable}, its address and the parameters of the"
        f" template, {_AGAIN}."
    ),
    Reason.UNREACHABLE: (
        "{name} cannot be reached from the machine that runs this relay. Check its network, and the address if you have"
        " set one, and try again."
    ),
}


def cures(backend: str) -> dict[str, str] | None:
    """Return the sentences about the service behind an agent, by the `reason`; None if there is no such service."""
    service = _SERVICES.get(backend)
    return service and {reason.value: sentence.format(**service) for reason, sentence in _CURES.items()}
