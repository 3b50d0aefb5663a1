"""A conversation as a request to a model's service: one place, for the first message and all later ones. Pure.

What a service refuses once, it would refuse for ever, because every later request repeats it. So requests keep each
service's rules, whatever is stored.
"""

from typing import Any

Request = dict[str, Any]
Message = dict[str, Any]
