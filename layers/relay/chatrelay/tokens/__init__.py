"""JWTs of OpenID Connect issuers: what their claims must be, and the keys that prove it.

PyJWT and cryptography take long to import: a light function without an issuer imports no module of this room.
"""
