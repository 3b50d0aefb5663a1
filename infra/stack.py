"""A deployed stack, as the operator's commands find it: where samconfig.toml says or the command line does."""

import argparse
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

SAMCONFIG = Path(__file__).resolve().parents[1] / "samconfig.toml"
NAME = "chat-relay"
CONFIG_ENV = "default"
OPTIONS = {
    "config_env": f"which part of samconfig.toml (default: {CONFIG_ENV})",
    "stack": f"the deployed stack (default: samconfig.toml's, or {NAME})",
    "region": "where it is (default: samconfig.toml's, or your own)",
    "profile": "whose account, by ~/.aws/config (default: samconfig.toml's, or your own)",
}
"""What every command takes to find a stack, with the names and the file that the SAM command line has."""
# What an operator can do something about; ``told`` says it.
PROBLEMS = (BotoCoreError, ClientError, ValueError, LookupError)


@dataclass(frozen=True)
class Stack:
    """A deployed stack. `session` has the account and the region."""

    name: str
    session: boto3.Session

    def output(self, name: str) -> str:
        """Return an output of the stack. Raise ``LookupError`` if it has none of that name."""
        try:
            return self._outputs[name]
        except KeyError:
            cure = "deploy this version of the template first"
            raise LookupError(f"the stack {self.name} has no output {name}: {cure}") from None

    @cached_property
    def _outputs(self) -> Mapping[str, str]:
        (stack,) = self.session.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``OPTIONS``."""
    for name, words in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=words)
    parser.set_defaults(config_env=CONFIG_ENV)


def named(options: argparse.Namespace) -> Stack:
    """Return the stack that ``OPTIONS`` and the file name. Raise as ``chosen`` does."""
    return chosen(**{name: getattr(options, name) for name in OPTIONS})


def chosen(
    config_env: str, stack: str | None, region: str | None, profile: str | None, samconfig: Path = SAMCONFIG
) -> Stack:
    """Return the stack that the arguments and the file name. Raise ``ValueError`` if the file cannot be read."""
    try:
        tables = tomllib.loads(samconfig.read_text(encoding="utf-8")).get(config_env, {})
    except FileNotFoundError:
        tables = {}
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f"{samconfig.name} cannot be read: {problem}") from problem
    # As `sam deploy` reads the file: what is for that command goes before what is for all.
    kept = {**tables.get("global", {}).get("parameters", {}), **tables.get("deploy", {}).get("parameters", {})}
    session = boto3.Session(region_name=region or kept.get("region"), profile_name=profile or kept.get("profile"))
    return Stack(stack or kept.get("stack_name", NAME), session)


def told(problem: Exception) -> str:
    """Return a problem in words, with what mends it where that is known."""
    match problem:
        case NoRegionError():
            return "in which region is the stack? Give --region, or set AWS_DEFAULT_REGION."
        case NoCredentialsError():
            return "there are no AWS credentials: give --profile, or run `aws configure`."
        case ClientError(response={"Error": {"Code": "ResourceNotFoundException" | "ValidationError"}}):
            return f"{problem}. Is it elsewhere? Give --stack, --region or --profile."
    return str(problem)
