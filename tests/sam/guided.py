"""Lets `sam deploy --guided` ask all that it asks, with Enter as every answer, and holds it against docs/deploy.md.

`python tests/sam/guided.py SAM`, after `sam build`. There is no account behind it: it ends where AWS would be asked.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = "http://127.0.0.1:9"
QUESTION = re.compile(r"\t(?P<question>[^\t\n]+?) \[(?P<default>[^\]\n]*)\]: ")
ENTER = "\n" * 200


def main() -> int:
    (sam,) = sys.argv[1:]
    written = Path(REPOSITORY, "docs", "deploy.md").read_text(encoding="utf-8")
    asked = _asked(Path(sam).absolute())
    problems = [
        f"`sam deploy --guided` asks {each!r}: docs/deploy.md does not say so"
        for each in asked
        if not _named(each, written)
    ]
    if "Save arguments to configuration file" not in asked:
        problems.append("the questions did not come to their end")
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"sam deploy --guided: {len(asked)} questions, {len(problems)} problems")
    return 1 if problems else 0


def _named(question: str, written: str) -> bool:
    return f"`{question.removeprefix('Parameter ')}`" in written


def _asked(sam: Path) -> list[str]:
    shell = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": NOBODY}
    shell |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1", "SAM_CLI_TELEMETRY": "0"}
    with tempfile.TemporaryDirectory() as folder:  # it writes what it was answered into samconfig.toml
        for name in ("template.yaml", "samconfig.toml"):
            shutil.copy(REPOSITORY / name, folder)
        for name in ("infra", "functions", "layers", ".aws-sam"):
            Path(folder, name).symlink_to(REPOSITORY / name)
        command = [str(sam), "deploy", "--guided"]
        ran = subprocess.run(  # noqa: S603
            command, cwd=folder, env=shell, input=ENTER, capture_output=True, text=True, check=False
        )
    return [found["question"] for found in QUESTION.finditer(ran.stdout)]


if __name__ == "__main__":
    sys.exit(main())
