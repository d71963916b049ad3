"""`yard project`: the parts of your organization."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import connect
from api.cli.limit_options import Limit, values

ITEMS_MAX = 1_000

app = typer.Typer(no_args_is_help=True, help="List projects; make, limit, rename and archive them (owners).")

ProjectId = Annotated[str, typer.Argument(metavar="PROJ_ID", help="for example proj_8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command("list")
def list_projects(
    everything: Annotated[bool, typer.Option("--all", help="Archived ones too.")] = False,
    json: Json = False,
) -> None:
    """List projects, newest first."""
    with connect() as yard:
        # httpx writes a bool as `true`, and leaves a None out
        found = yard.items("/organization/projects", limit=ITEMS_MAX, include_archived=everything or None)
    if json:
        render.show_json(found)
        return
    render.table(
        ("ID", "STATUS", "CREATED", "ARCHIVED", "NAME"),
        (
            (
                project["id"],
                project["status"],
                render.moment(project["created_at"]),
                render.moment(project["archived_at"]),
                project["name"],
            )
            for project in found
        ),
    )


@app.command("create")
def create_project(name: str, json: Json = False) -> None:
    """Make a project. It has no key yet: `yard key create --project`."""
    with connect() as yard:
        made = yard.post("/organization/projects", {"name": name})
    render.show_json(made) if json else render.out.print(made["id"])


@app.command("rename")
def rename_project(project_id: ProjectId, name: str, json: Json = False) -> None:
    """Give a project another name."""
    with connect() as yard:
        changed = yard.post(f"/organization/projects/{project_id}", {"name": name})
    render.show_json(changed) if json else render.out.print(f"{project_id} is called {changed['name']} now")


@app.command("limit")
def limit_project(project_id: ProjectId, limit: Limit = None, json: Json = False) -> None:
    """Lower limits of a project, in place of all that were set for it; without any, it has its
    organization's. `yard limits` with a key of the project shows them.

    ```
    yard project limit proj_… --limit concurrent_batches=2 --limit requests_per_minute=10
    ```
    """
    with connect() as yard:
        changed = yard.post(f"/organization/projects/{project_id}/limits", {"limits": values(limit or [])})
    if json:
        render.show_json(changed)
    else:
        render.facts([("project", project_id), *changed["limits"].items()])


@app.command("archive")
def archive_project(project_id: ProjectId, json: Json = False) -> None:
    """Refuse a project's keys from now on. What runs goes on, and all that it made stays."""
    with connect() as yard:
        archived = yard.post(f"/organization/projects/{project_id}/archive")
    render.show_json(archived) if json else render.out.print(f"archived {archived['name']}")
