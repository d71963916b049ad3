"""`yard spend`: what this month costs, how much it may cost, and at which spends to be told."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Document, connect

CENTS = 100  # in one dollar
PLACES = 4  # of a cent: a micro-dollar
ITEMS_MAX = 1_000

app = typer.Typer(no_args_is_help=True, help="See and limit what a month costs (limits: owners).")

Project = Annotated[
    str | None, typer.Option(metavar="PROJ_ID", help="Of one project instead of the whole organization.")
]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command()
def show(json: Json = False) -> None:
    """Show what this month costs so far, and how the limits over your project stand."""
    with connect() as yard:
        found = yard.get("/organization/spending")
    if json:
        render.show_json(found)
        return
    render.facts(
        [
            ("charged", render.dollars(found["charged_micros"])),
            ("spent by running work", render.dollars(found["running_micros"])),
            ("begins anew", render.moment(found["resets_at"])),
        ]
    )
    for limit in found["limits"]:
        _show_limit(limit)


@app.command()
def limit(
    dollars: Annotated[float | None, typer.Argument(min=0, help="A month; leave it out to look.")] = None,
    project: Project = None,
    none: Annotated[bool, typer.Option("--none", help="Take the limit away.")] = False,
    json: Json = False,
) -> None:
    """Show, set or take away a monthly spend limit. Work at the limit stops cleanly and can be retried.

    ```
    yard spend limit 250
    yard spend limit 20 --project proj_…
    ```
    """
    if none and dollars is not None:
        raise typer.BadParameter("a limit is either set or taken away", param_hint="--none")
    path = f"{_scope(project)}/spend_limit"
    with connect() as yard:
        if none:
            answer = yard.delete(path)
        elif dollars is None:
            answer = yard.get(path)
        else:
            answer = yard.post(path, {"threshold_amount": round(dollars * CENTS, PLACES)})
    if json:
        render.show_json(answer)
    elif none:
        render.out.print("no spend limit now")
    else:
        _show_limit(answer)


@app.command()
def alerts(
    add: Annotated[
        float | None, typer.Option(min=0, metavar="DOLLARS", help="Be told of this spend.")
    ] = None,
    delete: Annotated[str | None, typer.Option(metavar="ALERT_ID", help="No longer be told.")] = None,
    project: Project = None,
    json: Json = False,
) -> None:
    """List the spends to be told of, each once a month; add or delete one. Webhooks carry them.

    ```
    yard spend alerts --add 200
    ```
    """
    path = f"{_scope(project)}/spend_alerts"
    with connect() as yard:
        if add is not None:
            yard.post(path, {"threshold_amount": round(add * CENTS, PLACES)})
        if delete is not None:
            yard.delete(f"{path}/{delete}")
        found = yard.items(path, limit=ITEMS_MAX, order="asc")
    if json:
        render.show_json(found)
        return
    render.table(
        ("ID", "SPEND", "LAST TOLD"),
        (
            (alert["id"], render.dollars(alert["threshold_micros"]), render.moment(alert["alerted_at"]))
            for alert in found
        ),
    )


def _scope(project: str | None) -> str:
    return f"/organization/projects/{project}" if project else "/organization"


def _show_limit(limit: Document) -> None:
    whose = limit["object"].partition(".")[0]
    reached = ", reached: nothing new can begin" if limit["enforcement"]["status"] == "enforcing" else ""
    render.facts(
        [
            (f"limit of the {whose}", render.dollars(limit["threshold_micros"]) + " a month" + reached),
            ("spent", render.dollars(limit["spent_micros"])),
            ("held by running work", render.dollars(limit["held_micros"])),
            ("open", render.dollars(limit["open_micros"])),
            ("resets", render.moment(limit["resets_at"])),
        ]
    )
