"""What the package can say to a client: the types of its frames, the codes of its errors."""

import ast
from pathlib import Path

import chatrelay
from chatrelay.domain.errors import ClientFacingError
from chatrelay.domain.log import KINDS
from chatrelay.wire.outbound import Outbound


def frame_types() -> set[str]:
    """The types of frames that the package makes anywhere."""
    sources = (file.read_text() for file in Path(chatrelay.__file__).parent.rglob("*.py"))
    named = {kind for source in sources for node in ast.walk(ast.parse(source)) if (kind := made_type(node))}
    return named | KINDS


def made_type(node: ast.AST) -> str | None:
    """The type of the frame that an expression makes; None if it makes none, or leaves the type to its caller."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str(kind)), *_]) if name == Outbound.__name__:
            return kind
    return None


def error_codes() -> set[str]:
    """The codes of all errors that clients are told."""
    kinds: list[type[ClientFacingError]] = [ClientFacingError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.code for kind in kinds if hasattr(kind, "code")}
