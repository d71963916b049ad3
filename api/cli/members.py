"""`yard member`: the people of your organization."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import connect

ITEMS_MAX = 10_000

app = typer.Typer(no_args_is_help=True, help="List members; change their roles and remove them (owners).")

UserId = Annotated[str, typer.Argument(metavar="USER_ID", help="for example user-8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command("list")
def list_members(json: Json = False) -> None:
    """List members, newest first."""
    with connect() as yard:
        found = yard.items("/organization/users", limit=ITEMS_MAX)
    if json:
        render.show_json(found)
        return
    render.table(
        ("ID", "ROLE", "EMAIL", "JOINED", "KEY LAST USED", "NAME"),
        (
            (
                member["id"],
                member["role"],
                member["email"],
                render.moment(member["added_at"]),
                render.moment(member["api_key_last_used_at"]),
                member["name"],
            )
            for member in found
        ),
    )


@app.command("role")
def change_role(
    user_id: UserId,
    role: Annotated[str, typer.Argument(help="owner, developer or reader")],
    json: Json = False,
) -> None:
    """Give a member another role, which holds for their keys at once."""
    with connect() as yard:
        changed = yard.post(f"/organization/users/{user_id}", {"role": role})
    render.show_json(changed) if json else render.out.print(f"{changed['email']} is {changed['role']} now")


@app.command("remove")
def remove_member(user_id: UserId, json: Json = False) -> None:
    """End a membership. The member's keys are revoked at once; what they made stays."""
    with connect() as yard:
        removed = yard.delete(f"/organization/users/{user_id}")
    render.show_json(removed) if json else render.out.print(f"removed {user_id}")
