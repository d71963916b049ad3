"""`yard invite`: ask somebody in, and accept."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import connect

SECONDS_PER_DAY = 86_400
ITEMS_MAX = 10_000

app = typer.Typer(no_args_is_help=True, help="Invite people (owners); accept an invitation (anybody).")

InviteId = Annotated[str, typer.Argument(metavar="INVITE_ID", help="for example invite-8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command("send")
def send_invitation(
    email: str,
    role: Annotated[str, typer.Option(help="owner, developer or reader")] = "developer",
    days: Annotated[int | None, typer.Option(min=1, max=30, help="Valid for so long; 7 as a rule.")] = None,
    json: Json = False,
) -> None:
    """Make an invitation and print its token, this once. Handing it over is up to you.

    ```
    yard invite send ada@example.com --role developer
    ```
    """
    body: dict[str, str | int] = {"email": email, "role": role}
    if days is not None:
        body["expires_in_seconds"] = days * SECONDS_PER_DAY
    with connect() as yard:
        sent = yard.post("/organization/invites", body)
    render.show_json(sent) if json else print(sent["token"])


@app.command("list")
def list_invitations(json: Json = False) -> None:
    """List invitations, newest first."""
    with connect() as yard:
        found = yard.items("/organization/invites", limit=ITEMS_MAX)
    if json:
        render.show_json(found)
        return
    render.table(
        ("ID", "STATUS", "ROLE", "SENT", "EXPIRES", "EMAIL"),
        (
            (
                invite["id"],
                invite["status"],
                invite["role"],
                render.moment(invite["created_at"]),
                render.moment(invite["expires_at"]),
                invite["email"],
            )
            for invite in found
        ),
    )


@app.command("accept")
def accept_invitation(
    token: str,
    name: Annotated[str, typer.Option(prompt="Your name", help="As others shall see it.")],
    json: Json = False,
) -> None:
    """Join an organization with the token that you were given, and print your own key, this once.

    ```
    export YARD_API_KEY=$(yard invite accept yard_invite_… --name Ada)
    ```
    """
    with connect(None) as yard:
        joined = yard.post("/organization/invites/accept", {"token": token, "name": name})
    render.show_json(joined) if json else print(joined["api_key"]["key"])


@app.command("revoke")
def revoke_invitation(invite_id: InviteId, json: Json = False) -> None:
    """Withdraw an invitation: its token is refused from now on."""
    with connect() as yard:
        gone = yard.delete(f"/organization/invites/{invite_id}")
    render.show_json(gone) if json else render.out.print(f"revoked {invite_id}")
