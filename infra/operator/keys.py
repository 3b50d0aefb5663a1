"""Commands for API keys. Only a key's hash is stored."""

from typing import Annotated

import typer

from chatrelay.domain.identity import KEY
from chatrelay.store.api_keys import Key
from chatrelay.wire.identity import new_key
from infra.operator.command import command
from infra.operator.deployment import Deployment
from infra.operator.output import Output, Row, closed, moment

app = typer.Typer(name="keys", help="API keys.", no_args_is_help=True)


@command(app, "create")
def create(
    deployment: Deployment,
    output: Output,
    user: Annotated[str, typer.Argument(help="up to 64 of the characters A-Z a-z 0-9 . _ @ -")],
    label: Annotated[str, typer.Option(help="to tell keys apart, e.g. the device")] = "",
) -> None:
    """Make a key for a user and print it, this once."""
    keys, key = deployment.store.api_keys, new_key()
    keys.add(key, user, label)
    identity = keys.identity_of(key)
    assert identity is not None  # noqa: S101 - it was added
    key_id = identity.credential.removeprefix(KEY)
    output.done(key, {"key": key, "id": key_id, "user": user, "label": label})
    output.hint(f"This is shown once: only its hash is stored. `keys revoke {key_id}` takes it back.")


@command(app, "list")
def list_(
    deployment: Deployment,
    output: Output,
    user: Annotated[str | None, typer.Argument(help="whose; everybody's without it")] = None,
) -> None:
    """Show whose keys there are, the latest first."""
    keys = deployment.store.api_keys.all()
    if user is None:
        output.rows(map(_row, keys))
        return
    with output.working(f"Looking for keys of {user}"):
        found = [_row(key) for key in keys if key.user == user]
    output.rows(found)


@command(app, "revoke")
def revoke(
    deployment: Deployment, output: Output, key_id: Annotated[str, typer.Argument(help="as `keys list` shows it")]
) -> None:
    """Remove a key, close its sockets, and stop notifying the devices that it has registered."""
    with output.working("Looking for the key"):
        owners = deployment.store.api_keys.owners(key_id)
    if not owners:
        raise LookupError(f"there is no key {key_id}: `keys list` shows which there are")
    for identity in owners:
        sockets = deployment.revocation.revoke(identity)
        # Last, so that a command that breaks off can be repeated. Until then the key is refused as revoked.
        deployment.store.api_keys.remove(key_id)
        output.done(
            f"{key_id} of {identity.user} is removed, with its devices. {closed(sockets)}",
            {"id": key_id, "user": identity.user, "sockets_closed": sockets},
        )


def _row(key: Key) -> Row:
    return {"id": key.id, "made": moment(key.created_at_ms / 1000), "user": key.user, "label": key.label}
