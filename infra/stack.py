"""A deployed stack, as the operator's commands find it: where samconfig.toml says or the command line does."""

import argparse
import tomllib
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

SAMCONFIG = Path(__file__).resolve().parents[1] / "samconfig.toml"
NAME = "chat-relay"
# What an operator can do something about; ``told`` says it.
PROBLEMS = (BotoCoreError, ClientError, ValueError, LookupError)


@dataclass(frozen=True)
class Stack:
    """A deployed stack. `session` has the account and the region."""

    name: str
    session: boto3.Session

    def output(self, name: str) -> str:
        """Return an output of the stack. Raise ``LookupError`` if it has none of that name."""
        (stack,) = self.session.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        for output in stack.get("Outputs", []):
            if output["OutputKey"] == name:
                return output["OutputValue"]
        raise LookupError(f"the stack {self.name} has no output {name}: deploy this version of the template first")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that find a stack, with the names and the file that the SAM command line has."""
    parser.add_argument("--config-env", default="default", help="which part of samconfig.toml (default: %(default)s)")
    parser.add_argument("--stack", help=f"the deployed stack (default: samconfig.toml's, or {NAME})")
    parser.add_argument("--region", help="where it is (default: samconfig.toml's, or your own)")
    parser.add_argument("--profile", help="whose account, by ~/.aws/config (default: samconfig.toml's, or your own)")


def chosen(options: argparse.Namespace, samconfig: Path = SAMCONFIG) -> Stack:
    """Return the stack that the options and the file name. Raise ``ValueError`` if the file cannot be read."""
    try:
        tables = tomllib.loads(samconfig.read_text(encoding="utf-8")).get(options.config_env, {})
    except FileNotFoundError:
        tables = {}
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f"{samconfig.name} cannot be read: {problem}") from problem
    # As `sam deploy` reads the file: what is for that command goes before what is for all.
    kept = {**tables.get("global", {}).get("parameters", {}), **tables.get("deploy", {}).get("parameters", {})}
    session = boto3.Session(
        region_name=options.region or kept.get("region"), profile_name=options.profile or kept.get("profile")
    )
    return Stack(options.stack or kept.get("stack_name", NAME), session)


def told(problem: Exception) -> str:
    """Return a problem in words, with what mends it where that is known."""
    match problem:
        case NoRegionError():
            return "in which region is the stack? Give --region, or set AWS_DEFAULT_REGION."
        case NoCredentialsError():
            return "there are no AWS credentials: give --profile, or run `aws configure`."
    return str(problem)
