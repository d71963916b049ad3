"""`yard org` and `yard key`: who may use the yard. For operators."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import connect

organization_app = typer.Typer(
    no_args_is_help=True, help="Make organizations and set their tiers (operators)."
)
key_app = typer.Typer(no_args_is_help=True, help="Make and revoke API keys (operators).")

OrganizationId = Annotated[str, typer.Argument(metavar="ORG_ID", help="for example org_8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@organization_app.command("create")
def create_organization(
    name: str,
    tier: Annotated[str, typer.Option(help="`yard tiers` lists them.")],
    json: Json = False,
) -> None:
    """Make an organization. Its people work with keys: `yard key create`.

    ```
    yard org create "Search team" --tier developer
    ```
    """
    with connect("operator") as yard:
        made = yard.post("/organizations", {"name": name, "tier": tier})
    render.show_json(made) if json else render.out.print(made["id"])


@organization_app.command("list")
def list_organizations(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100, json: Json = False
) -> None:
    """List organizations and their tiers."""
    with connect("operator") as yard:
        found = yard.items("/organizations", limit=limit)
    if json:
        render.show_json(found)
        return
    render.table(
        ("ID", "TIER", "CREATED", "NAME"),
        ((o["id"], o["tier"], render.moment(o["created_at"]), o["name"]) for o in found),
    )


@organization_app.command("set-tier")
def set_tier(organization_id: OrganizationId, tier: str, json: Json = False) -> None:
    """Move an organization to another tier, from its next request on.

    ```
    yard org set-tier org_… enterprise
    ```
    """
    with connect("operator") as yard:
        changed = yard.post(f"/organizations/{organization_id}", {"tier": tier})
    if json:
        render.show_json(changed)
    else:
        render.out.print(f"{changed['name']} is in tier {changed['tier']} now")


@key_app.command("create")
def create_key(
    organization_id: OrganizationId,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    operator: Annotated[
        bool, typer.Option("--operator", help="A key that runs the yard, as yours does.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a key and print it, this once: the yard keeps only its hash.

    ```
    export YARD_API_KEY=$(yard key create org_… --name ci)
    ```
    """
    body = {"name": name, "role": "operator" if operator else "owner"}
    with connect("operator") as yard:
        made = yard.post(f"/organizations/{organization_id}/api_keys", body)
    render.show_json(made) if json else print(made["key"])


@key_app.command("list")
def list_keys(organization_id: OrganizationId, json: Json = False) -> None:
    """List an organization's keys: their names and ends, never the keys."""
    with connect("operator") as yard:
        found = yard.get(f"/organizations/{organization_id}/api_keys")["data"]
    if json:
        render.show_json(found)
        return
    render.table(
        ("ID", "KEY", "ROLE", "CREATED", "LAST USED", "REVOKED", "NAME"),
        (
            (
                key["id"],
                key["hint"],
                key["role"],
                render.moment(key["created_at"]),
                render.moment(key["last_used_at"]),
                render.moment(key["revoked_at"]),
                key["name"],
            )
            for key in found
        ),
    )


@key_app.command("revoke")
def revoke_key(
    organization_id: OrganizationId,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID")],
    json: Json = False,
) -> None:
    """Revoke a key, for good and at once."""
    with connect("operator") as yard:
        revoked = yard.delete(f"/organizations/{organization_id}/api_keys/{key_id}")
    render.show_json(revoked) if json else render.out.print(f"revoked {key_id}")
