"""`yard org`: your organization; for operators, all of them."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import connect
from api.cli.limit_options import Limit, values
from api.cli.reservations import amount

app = typer.Typer(
    no_args_is_help=True,
    help="See your organization; make others, set their tiers and contracts (operators).",
)

OrganizationId = Annotated[str, typer.Argument(metavar="ORG_ID", help="for example org_8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command("show")
def show_organization(json: Json = False) -> None:
    """Show your organization, its plan, and what your key may do."""
    with connect() as yard:
        found = yard.get("/organization")
    if json:
        render.show_json(found)
        return
    reserved = ", ".join(f"{amount(part)} of {part['model']}" for part in found["reserved"])
    render.facts(
        [
            ("organization", f"{found['name']} ({found['id']})"),
            ("plan", found["plan"]["title"]),
            ("support", found["plan"]["support_contact"] or found["plan"]["support"]),
            ("reserved", reserved or None),
            ("project", found["project_id"]),
            ("key", found["key"]["id"]),
            ("role", found["key"]["role"]),
            ("may", ", ".join(found["key"]["scopes"])),
        ]
    )


@app.command("create")
def create_organization(
    name: str,
    tier: Annotated[str, typer.Option(help="`yard tiers` lists them.")],
    json: Json = False,
) -> None:
    """Make an organization. Its people work with keys: `yard key create --org`.

    ```
    yard org create "Search team" --tier developer
    ```
    """
    with connect("operator") as yard:
        made = yard.post("/organizations", {"name": name, "tier": tier})
    render.show_json(made) if json else render.out.print(made["id"])


@app.command("list")
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


@app.command("set-tier")
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


@app.command("contract")
def set_contract(
    organization_id: OrganizationId,
    limit: Limit = None,
    priority: Annotated[
        int | None, typer.Option(help="Added to the tier's: -1 is sooner, within the tier.")
    ] = None,
    support_contact: Annotated[
        str | None, typer.Option(metavar="WHO", help="Whom its people write to; '' for the tier's.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what an organization's contract has in place of its tier's, or change what is named, from its next
    request on. Limits named here take the place of all that were set.

    ```
    yard org contract org_… --limit concurrent_batches=100 --limit queued_tokens_max=none
    yard org contract org_… --priority -2 --support-contact ada@example.com
    ```
    """
    path = f"/organizations/{organization_id}"
    changes = {} if priority is None else {"priority": priority}
    contact = {} if support_contact is None else {"support_contact": support_contact or None}
    with connect("operator") as yard:
        if limit:
            yard.post(f"{path}/limits", {"limits": values(limit)})
        found = yard.post(path, changes | contact) if changes or contact else yard.get(path)
    if json:
        render.show_json(found)
        return
    render.facts(
        [
            ("organization", f"{found['name']} ({found['id']})"),
            ("tier", found["tier"]),
            ("priority", f"{found['priority']:+d}"),
            ("support", found["support_contact"]),
            *((name, "any" if most is None else most) for name, most in found["limits"].items()),
        ]
    )
