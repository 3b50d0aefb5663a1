"""Entrance of ``python -m infra.operator``."""

import typer

from infra.operator import conversations, keys, users

app = typer.Typer(
    name="python -m infra.operator",
    help="Keys, users and conversations of a deployed relay. docs/operator.md shows every command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a traceback is of a fault of ours, and has no values: one may be a key
    rich_markup_mode=None,
)
app.add_typer(keys.app)
app.add_typer(users.app)
app.add_typer(conversations.app)

if __name__ == "__main__":
    app(prog_name=app.info.name)
