"""Prints docs/permissions.md: who may do what, from the tables that the server and the command line go by."""

from __future__ import annotations

from hashmatch.roles import RPCS, VERBS, Open, Role

HEAD = """\
# Who may do what

Made by `tools/genpermissions` from `hashmatch/roles.py`; do not edit. A role is a named permission and implies no
other: give a key every role that its holder needs. What is not in these tables is refused.
"""


def main() -> None:
    print(HEAD)
    print("## Roles\n\n| permission | for whoever |\n|---|---|")
    for permission in (*Role, *Open):
        print(f"| `{permission}` | {permission.meaning} |")
    print("\n## RPCs\n\n| RPC | permission |\n|---|---|")
    for method, wanted in RPCS.items():
        service, _, name = method.lstrip("/").rpartition("/")
        print(f"| {service.rpartition('.')[2]}.{name} | `{wanted}` |")
    print("\n## Verbs of the command line\n")
    print("They bind where the setting `accounts` gives roles to accounts of the machine.\n")
    print("| verb | permission |\n|---|---|")
    for verb, wanted in VERBS.items():
        print(f"| `hashmatch {verb}` | `{wanted}` |")


if __name__ == "__main__":
    main()
