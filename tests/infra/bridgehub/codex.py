"""Prints what `codex exec --json` prints. The last word of the prompt names the scene."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def say(kind: str, **more: Any) -> None:
    sys.stdout.write(json.dumps({"type": kind, **more}) + "\n")
    sys.stdout.flush()


def message(text: str, number: int = 0, kind: str = "item.completed") -> None:
    say(kind, item={"id": f"item_{number}", "type": "agent_message", "text": text})


def complete() -> None:
    usage = {"input_tokens": 90, "cached_input_tokens": 60, "output_tokens": 7, "reasoning_output_tokens": 0}
    say("turn.completed", usage=usage)


command, output, unchecked, change, directory, prompt_from = sys.argv[1:]
assert (command, output, unchecked, change, prompt_from) == ("exec", "--json", "--skip-git-repo-check", "--cd", "-")
prompt = sys.stdin.read()

say("thread.started", thread_id="0199a213")
say("turn.started")
match prompt.split()[-1]:
    case "prompt":
        message(prompt)
        complete()
    case "wait":
        message("First.")
        with Path(directory, "go").open():  # a pipe: until somebody writes to it
            pass
        message("Second.", 2)
        complete()
    case "grow":
        message("", kind="item.started")
        message("Gro", kind="item.updated")
        message("Growing", kind="item.completed")
        complete()
    case "work":
        ran = {"id": "item_1", "type": "command_execution", "command": "bash -lc ls", "aggregated_output": ""}
        say("item.completed", item={"id": "item_0", "type": "reasoning", "text": "**Looking** \ud83d\ude00"})
        say("item.started", item={**ran, "exit_code": None, "status": "in_progress"})
        say("item.updated", item={**ran, "aggregated_output": "a.py\n", "exit_code": None, "status": "in_progress"})
        say("item.completed", item={**ran, "aggregated_output": "a.py\n" * 9000, "exit_code": 0, "status": "completed"})
        message("There is a lot.", 2)
        complete()
    case "fail":
        message("So far")
        say("turn.failed", error={"message": "You have hit your usage limit."})
        sys.exit(1)
    case "failWithout":
        say("error", message="The connection was reset.")
        say("turn.failed", error=None)
        time.sleep(600)
    case "die":
        say("error", message="The connection was reset.")
        sys.exit(1)
    case "stay":
        child = subprocess.Popen(["sleep", "600"])  # noqa: S607
        Path(directory, "pids").write_text(f"{os.getpid()} {child.pid}\n")
        message("hi")
        complete()
        time.sleep(600)
    case "complain":
        sys.exit("\x1b[31mNot logged in.\x1b[0m Run `codex login`.")
    case "stop":
        message("So far")
