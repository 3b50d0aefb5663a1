"""What all of the operator's commands share: their options, and what becomes of a problem."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from chatrelay.domain.errors import RelayError
from infra.operator.deployment import Deployment
from infra.operator.output import Output
from infra.stack import CONFIG_ENV, OPTIONS, chosen, told
from infra.stack import PROBLEMS as STACK_PROBLEMS

PROBLEMS = (*STACK_PROBLEMS, RelayError)

Do = Callable[..., None]


@dataclass(frozen=True)
class Options:
    """The options of every command."""

    config_env: Annotated[str, typer.Option(help=OPTIONS["config_env"], show_default=False)] = CONFIG_ENV
    stack: Annotated[str | None, typer.Option(help=OPTIONS["stack"])] = None
    region: Annotated[str | None, typer.Option(help=OPTIONS["region"])] = None
    profile: Annotated[str | None, typer.Option(help=OPTIONS["profile"])] = None
    table: Annotated[str | None, typer.Option(help="the table itself, instead of the stack's")] = None
    json: Annotated[bool, typer.Option("--json", help="for programs: a document, or a line for each of a list")] = False

    @property
    def deployment(self) -> Deployment:
        return Deployment(chosen(self.config_env, self.stack, self.region, self.profile), self.table)


def command(app: typer.Typer, name: str) -> Callable[[Do], Do]:
    """Make a function the command `name` of `app`, with ``Options`` behind its own parameters.

    The function is called with the deployment and the output that the options choose, and with its own parameters by
    name. What an operator can mend is said without a traceback, and ends the command with 1.
    """
    of_all = inspect.signature(Options).parameters

    def register(do: Do) -> Do:
        def run(**given: Any) -> None:
            options = Options(**{name: given.pop(name) for name in of_all})
            output = Output(as_json=options.json)
            try:
                do(options.deployment, output, **given)
            except PROBLEMS as problem:
                output.hint(f"infra.operator: {told(problem)}")
                raise typer.Exit(1) from None

        _, _, *own = inspect.signature(do).parameters.values()
        # Typer reads a command's parameters off its signature.
        parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *of_all.values())]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name, help=do.__doc__)(run)
        return do

    return register
