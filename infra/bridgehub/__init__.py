"""The sidecar for the machine where Codex's command line lives: puts BridgeHub, or Codex itself, behind HTTP.

It needs nothing else of this repository but its own ``requirements.txt``. ``openapi.yaml`` is what it speaks.
"""
