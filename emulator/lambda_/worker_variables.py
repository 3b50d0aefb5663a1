"""The environment of a worker process: what Lambda sets, what the template sets, and where the services are."""

import os
from collections.abc import Callable, Mapping

from emulator.account import REGION
from emulator.services.identity import Identity
from emulator.template.functions import Function

# What a worker keeps of this process's own environment; nothing else would be there in Lambda.
_INHERITED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR")


def for_function(
    function: Function, identity: Identity, endpoints: Mapping[str, str], extra: Mapping[str, str]
) -> Callable[[str], dict[str, str]]:
    """Return a function from a version to the variables of a worker that runs it.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    """
    common = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    common |= {**identity.variables, "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION, "TZ": ":UTC"}
    # A machine in EC2 would otherwise lend its own role to a function that asks for credentials.
    common |= {"AWS_EC2_METADATA_DISABLED": "true", **endpoints}
    common |= {
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_FORMAT": "JSON" if function.json_logs else "Text",
        "LAMBDA_TASK_ROOT": str(function.code),
        # Lambda puts /opt/python there, which all layers are unpacked to.
        "PYTHONPATH": os.pathsep.join(map(str, function.layers)),
        "_HANDLER": function.handler,
    }
    common |= dict(function.environment) | dict(extra)

    def variables(version: str) -> dict[str, str]:
        start = "snap-start" if function.snap_start and version != "$LATEST" else "on-demand"
        return common | {
            "AWS_LAMBDA_FUNCTION_VERSION": version,
            "AWS_LAMBDA_INITIALIZATION_TYPE": start,
            "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[{version}]",
        }

    return variables
