"""Which stack the operator's commands mean: as `sam deploy` would, by the same file."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import NoCredentialsError, NoRegionError

from infra import stack
from tests.builders.deployments import REPOSITORY

GUIDED = """
version = 0.1
[default.global.parameters]
stack_name = "talk"
[default.deploy.parameters]
region = "eu-west-1"
profile = "work"
parameter_overrides = "ClaudeModel=\\"claude-sonnet-4-6\\""
[builderos.deploy.parameters]
stack_name = "app"
"""
"""As `sam deploy --guided` leaves it."""


@pytest.fixture
def samconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    Path(tmp_path, "config").write_text("[profile work]\nregion = us-east-2\n[profile home]\nregion = us-east-1\n")
    return tmp_path / "samconfig.toml"


def chosen(samconfig: Path, *arguments: str) -> tuple[str, str | None, str]:
    parser = argparse.ArgumentParser()
    stack.add_options(parser)
    found = stack.chosen(**vars(parser.parse_args(arguments)), samconfig=samconfig)
    return found.name, found.session.region_name, found.session.profile_name


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], ("talk", "eu-west-1", "work")),
        (["--stack", "other"], ("other", "eu-west-1", "work")),
        (["--region", "us-east-1"], ("talk", "us-east-1", "work")),
        (["--profile", "home"], ("talk", "eu-west-1", "home")),
        (["--config-env", "builderos"], ("app", "us-west-2", "default")),
        (["--config-env", "unknown"], ("chat-relay", "us-west-2", "default")),
    ],
)
def test_the_command_line_goes_before_the_file_and_the_file_before_the_shell(
    samconfig: Path, arguments: list[str], found: tuple[str, str, str]
) -> None:
    samconfig.write_text(GUIDED)

    assert chosen(samconfig, *arguments) == found


def test_without_a_file_there_are_the_defaults(samconfig: Path) -> None:
    assert not samconfig.exists()
    assert chosen(samconfig) == ("chat-relay", "us-west-2", "default")


def test_a_file_that_cannot_be_read_is_named(samconfig: Path) -> None:
    samconfig.write_text("[default")

    with pytest.raises(ValueError, match=r"samconfig\.toml cannot be read: "):
        chosen(samconfig)


def test_our_own_file_names_the_stack_that_the_commands_mean() -> None:
    assert chosen(stack.SAMCONFIG)[0] == stack.NAME
    assert chosen(stack.SAMCONFIG, "--config-env", "builderos")[0] == stack.NAME


@pytest.mark.parametrize(
    ("problem", "cure"),
    [(NoRegionError(), "--region"), (NoCredentialsError(), "aws configure"), (ValueError("user: no"), "user: no")],
)
def test_a_problem_says_what_mends_it(problem: Exception, cure: str) -> None:
    assert cure in stack.told(problem)


@pytest.mark.parametrize("command", ["pushes", "restore", "smoke"])
def test_a_command_says_what_it_takes(command: str) -> None:
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-m", f"infra.{command}", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    assert ran.stdout.startswith(f"usage: python -m infra.{command} ")
    assert ("--region" in ran.stdout) is (command != "smoke")
