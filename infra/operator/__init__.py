"""The operator's command, ``python -m infra.operator``: keys, users and conversations of a deployed relay.

| module          | what is in it                                                    |
|-----------------|------------------------------------------------------------------|
| `command`       | what all commands share: options, and what becomes of a problem   |
| `deployment`    | what commands act on: the only place that builds clients          |
| `output`        | tables for people, JSON for programs                             |
| `keys`, `users`, `conversations` | the commands, a module a noun                    |

No command reads the whole table.
"""
