"""`yard key`: the keys of your projects; for operators, of any organization."""

from enum import StrEnum
from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Client, connect

SECONDS_PER_DAY = 86_400
ITEMS_MAX = 10_000

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


class Role(StrEnum):
    """What a key may do at most."""

    OWNER = "owner"
    DEVELOPER = "developer"
    READER = "reader"
    OPERATOR = "operator"


Organization = Annotated[
    str | None, typer.Option("--org", metavar="ORG_ID", help="Of another organization (operators).")
]
Project = Annotated[
    str | None, typer.Option(metavar="PROJ_ID", help="Of another project than that of your own key.")
]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    role: Annotated[
        Role | None, typer.Option(help="Without --org `developer` unless told otherwise, else `owner`.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(metavar="SCOPE", help="Only this of what the role may do; can be repeated."),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Expire after so many days.")] = None,
    service: Annotated[
        bool, typer.Option("--service", help="The project's key: it outlives your membership (owners).")
    ] = False,
    project: Project = None,
    organization: Organization = None,
    json: Json = False,
) -> None:
    """Make a key and print it, this once: the yard keeps only its hash.

    ```
    export YARD_API_KEY=$(yard key create --name ci --scope batches:write --scope files:write --days 90)
    yard key create --org org_… --name first         # an owner's key, made by the operator
    ```
    """
    if service and organization is not None:
        raise typer.BadParameter("keys made with --org are the project's own anyhow", param_hint="--service")
    given = {
        "name": name,
        "role": role,
        "scopes": scope or None,
        "expires_in_seconds": None if days is None else days * SECONDS_PER_DAY,
        "service": service or None,
    }
    body = {field: value for field, value in given.items() if value is not None}
    with _connect(organization) as yard:
        if organization is not None and project is not None:
            body["project_id"] = project
        made = yard.post(_path(yard, organization, project), body)
    render.show_json(made) if json else print(made["key"])


@app.command("list")
def list_keys(project: Project = None, organization: Organization = None, json: Json = False) -> None:
    """List keys: what they may do, whose they are and their ends, never the keys."""
    with _connect(organization) as yard:
        path = _path(yard, organization, project)
        found = yard.items(path, limit=ITEMS_MAX) if organization is None else yard.get(path)["data"]
    if json:
        render.show_json(found)
        return
    render.table(
        ("ID", "KEY", "ROLE", "SCOPES", "OF", "LAST USED", "EXPIRES", "REVOKED", "NAME"),
        (
            (
                key["id"],
                key["hint"],
                key["role"],
                "all" if key["scopes"] is None else ",".join(key["scopes"]),
                key["owner"]["user"]["email"] if key["owner"]["user"] else None,
                render.moment(key["last_used_at"]),
                render.moment(key["expires_at"]),
                render.moment(key["revoked_at"]),
                key["name"],
            )
            for key in found
        ),
    )


@app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID")],
    project: Project = None,
    organization: Organization = None,
    json: Json = False,
) -> None:
    """Revoke a key, for good and at once."""
    with _connect(organization) as yard:
        revoked = yard.delete(f"{_path(yard, organization, project)}/{key_id}")
    render.show_json(revoked) if json else render.out.print(f"revoked {key_id}")


def _connect(organization: str | None) -> Client:
    return connect("developer" if organization is None else "operator")


def _path(yard: Client, organization: str | None, project: str | None) -> str:
    if organization is not None:
        return f"/organizations/{organization}/api_keys"
    project = project or yard.get("/organization")["project_id"]
    return f"/organization/projects/{project}/api_keys"
