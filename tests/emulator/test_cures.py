import pytest

from chatrelay.agents.refusals import DENIED
from emulator.cures import cures


@pytest.mark.parametrize("backend", ["anthropic", "openai", "bridgehub"])
def test_whatever_only_the_operator_can_mend_has_a_cure_of_its_own(backend: str) -> None:
    known = cures(backend)
    assert known is not None
    assert {reason.value for reason in DENIED} <= known.keys()
    assert not [sentence for sentence in known.values() if "{" in sentence]


def test_an_agent_that_is_not_set_up_has_none() -> None:
    assert cures("") is None
