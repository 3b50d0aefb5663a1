"""Serves a SAM template's WebSocket and HTTP APIs and its Python functions on this machine: no AWS, no Docker.

Start it with `python -m emulator`. What it copies from AWS is written in `tests/emulator`, one test a fact.
"""
