"""Who somebody is."""

from dataclasses import dataclass

KEY = "key:"
"""How the credentials begin that are API keys; no issuer of tokens has this name."""


@dataclass(frozen=True)
class Identity:
    """Who somebody is, and by which credential.

    `credential` is what can be revoked: ``key:<id>``. Of a token, `user` and `credential` are
    ``<issuer's short name>:<quoted>``. `issued_at` and `expires_at` are in seconds since 1970; `issued_at` is 0 if
    nobody says it, `expires_at` is None for what is good for ever, as API keys are. `names_session` says whether the
    next token of the same sign-in has the same credential.
    """

    user: str
    credential: str
    issued_at: int
    expires_at: int | None = None
    names_session: bool = True
