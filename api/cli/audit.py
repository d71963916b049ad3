"""`yard audit`: who changed what in your organization."""

import json as text
from typing import Annotated, Any

import typer

from api.cli import render
from api.cli.client import Document, connect


def audit(
    event: Annotated[
        list[str] | None, typer.Option(metavar="TYPE", help="Only these, for example api_key.created.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option(metavar="WHO", help="Only of this key, member or email address.")
    ] = None,
    project: Annotated[str | None, typer.Option(metavar="PROJ_ID", help="Only of this project.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    json: Annotated[bool, typer.Option("--json", help="The API's own answer.")] = False,
) -> None:
    """Show every change of a key, a member, a project, the tier, a limit or a price, newest first.

    ```
    yard audit --event api_key.created --event api_key.deleted
    yard audit --actor ada@example.com
    ```
    """
    who = "actor_emails[]" if "@" in (actor or "") else "actor_ids[]"
    sought: dict[str, Any] = {"event_types[]": event or None, who: actor, "project_ids[]": project}
    with connect() as yard:
        found = yard.items("/organization/audit_logs", limit=limit, **sought)
    if json:
        render.show_json(found)
        return
    render.table(
        ("WHEN", "WHAT", "BY", "OF", "BEFORE", "AFTER"),
        (
            (
                render.moment(entry["effective_at"]),
                entry["type"],
                _who(entry["actor"]),
                entry["resource_id"],
                _fields(entry["before"]),
                _fields(entry["after"]),
            )
            for entry in found
        ),
    )


def _who(actor: Document) -> str:
    if actor["by"] != "organization":
        return f"the {actor['by']}"
    key = actor["api_key"]
    return str(key["user"]["email"] if key["user"] else key["id"])


def _fields(values: Document | None) -> str | None:
    return text.dumps(values, ensure_ascii=False) if values else None
