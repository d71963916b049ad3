"""`yard reservation`: capacity that an organization always gets while it has work (operators)."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Document, connect

app = typer.Typer(
    no_args_is_help=True, help="Keep engines, or a share of them, for an organization (operators)."
)

OrganizationId = Annotated[str, typer.Argument(metavar="ORG_ID", help="for example org_8k2m…")]
Model = Annotated[str, typer.Argument(help="A base model of `yard model list`.")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command("set")
def set_reservation(
    organization_id: OrganizationId,
    model: Model,
    engines: Annotated[int, typer.Option(min=0, help="So many engines of the model.")] = 0,
    share: Annotated[float, typer.Option(min=0, max=1, help="Such a share of the places of all.")] = 0.0,
    json: Json = False,
) -> None:
    """Reserve engines of a model for an organization, or a share of their places, in place of what it had.
    Nothing stands idle for it: while the organization has no work, others are lent it.

    ```
    yard reservation set org_… yard-smoke --engines 1
    yard reservation set org_… yard-smoke --share 0.25
    ```
    """
    with connect("operator") as yard:
        body = {"model": model, "engines": engines, "share": share}
        made = yard.post(f"/organizations/{organization_id}/reservations", body)
    if json:
        render.show_json(made)
    else:
        render.out.print(f"{organization_id} has {amount(made)} of {model} whenever it has work")


@app.command("list")
def list_reservations(json: Json = False) -> None:
    """List everything that is reserved on this yard."""
    with connect("operator") as yard:
        found = yard.get("/reservations")["data"]
    if json:
        render.show_json(found)
        return
    render.table(
        ("ORGANIZATION", "MODEL", "RESERVED", "SINCE"),
        ((r["organization_id"], r["model"], amount(r), render.moment(r["created_at"])) for r in found),
    )


@app.command("end")
def end_reservation(organization_id: OrganizationId, model: Model) -> None:
    """Give back what an organization has reserved of a model. What runs goes on."""
    with connect("operator") as yard:
        yard.delete(f"/organizations/{organization_id}/reservations/{model}")
    render.out.print(f"{organization_id} has nothing of {model} reserved now")


def amount(reservation: Document) -> str:
    """`2 engines` or `25%`."""
    engines: int = reservation["engines"]
    if engines:
        return f"{engines} engine{'s' if engines > 1 else ''}"
    return f"{reservation['share']:.0%}"
