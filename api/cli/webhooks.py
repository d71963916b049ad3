"""`yard webhook`: be told when batches and fine-tuning jobs end, instead of asking."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Document, connect
from api.cli.exits import Exit

ITEMS_MAX = 1_000
LOG_ITEMS = 20
ENDPOINTS = "/webhook_endpoints"

app = typer.Typer(no_args_is_help=True, help="Be told by HTTP when work ends and money is spent.")

Id = Annotated[str, typer.Argument(metavar="WEBHOOK_ID")]
Events = Annotated[
    list[str] | None,
    typer.Option("--event", metavar="EVENT", help="Only this, such as `batch.completed`; can be repeated."),
]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where to send events: https://…")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "webhook",
    events: Events = None,
    json: Json = False,
) -> None:
    """Make an endpoint that is told of everything, or of some events. Its secret is printed this once.

    ```
    yard webhook create https://hooks.example.com/yard --event batch.completed --event batch.failed
    ```

    With the secret, a receiver verifies what comes, by OpenAI's client:

    ```
    event = OpenAI(webhook_secret="whsec_…").webhooks.unwrap(body, headers)
    ```
    """
    with connect() as yard:
        kinds = events or yard.get("/webhook_event_types")["data"]
        made = yard.post(ENDPOINTS, {"url": url, "name": name, "event_types": kinds})
    if json:
        render.show_json(made)
        return
    _show(made)
    _show_secret(made)


@app.command("list")
def list_endpoints(json: Json = False) -> None:
    """List the endpoints of your project, and whether they work."""
    with connect() as yard:
        found = yard.items(ENDPOINTS, limit=ITEMS_MAX)
    if json:
        render.show_json(found)
        return
    rows = ((each["id"], _state(each), each["url"], each["name"]) for each in found)
    render.table(("ID", "STATE", "URL", "NAME"), rows)


@app.command()
def show(webhook_id: Id, json: Json = False) -> None:
    """Show an endpoint: its events, and why it is disabled if it is."""
    with connect() as yard:
        found = yard.get(f"{ENDPOINTS}/{webhook_id}")
    render.show_json(found) if json else _show(found)


@app.command()
def update(
    webhook_id: Id,
    url: Annotated[str | None, typer.Option(help="Send to this address from now on.")] = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    events: Events = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Send again, or no more.")
    ] = None,
    json: Json = False,
) -> None:
    """Change what is given.

    ```
    yard webhook update wh_… --enable
    yard webhook update wh_… --event batch.completed     # of that alone from now on
    ```
    """
    given = {"url": url, "name": name, "event_types": events or None, "enabled": enabled}
    with connect() as yard:
        changed = yard.post(
            f"{ENDPOINTS}/{webhook_id}", {field: value for field, value in given.items() if value is not None}
        )
    render.show_json(changed) if json else _show(changed)


@app.command()
def rotate(
    webhook_id: Id,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="The old secret signs no more, instead of for another day.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a new secret and print it, this once. For a day everything is signed with both."""
    body = {"keep_old_secret_active_for_24_hours": not at_once}
    with connect() as yard:
        rotated = yard.post(f"{ENDPOINTS}/{webhook_id}/rotate_secret", body)
    render.show_json(rotated) if json else _show_secret(rotated)


@app.command("test")
def send_test(
    webhook_id: Id,
    event: Annotated[
        str, typer.Option(metavar="EVENT", help="The kind of event to make up.")
    ] = "webhook.test",
    json: Json = False,
) -> None:
    """Send a made-up event and show the answer. Exits with 1 unless that was a 2xx.

    ```
    yard webhook test wh_… --event batch.completed
    ```
    """
    with connect() as yard:
        result = yard.post(f"{ENDPOINTS}/{webhook_id}/test", {"event_type": event})
    if json:
        render.show_json(result)
    else:
        attempt = result["delivery"]["attempts"][0]
        render.out.print(f"answered {result['status_code']} in {attempt['milliseconds']} ms")
        if attempt["error"]:
            render.out.print(attempt["error"], markup=False, soft_wrap=True)
    if result["delivery"]["status"] != "delivered":
        raise typer.Exit(Exit.FAILED)


@app.command()
def log(
    webhook_id: Id,
    limit: Annotated[int, typer.Option(min=1, max=ITEMS_MAX, help="So many, the newest.")] = LOG_ITEMS,
    retry: Annotated[
        str | None, typer.Option(metavar="DELIVERY_ID", help="Send this one again first.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what was sent, and what became of it.

    ```
    yard webhook log wh_…
    yard webhook log wh_… --retry delivery_…
    ```
    """
    path = f"{ENDPOINTS}/{webhook_id}/deliveries"
    with connect() as yard:
        if retry is not None:
            yard.post(f"{path}/{retry}/retry")
        found = yard.items(path, limit=limit)
    if json:
        render.show_json(found)
        return
    render.table(
        ("DELIVERY", "SINCE", "EVENT", "OF", "STATUS", "ATTEMPTS", "LAST ANSWER", "NEXT ATTEMPT"),
        (
            (
                each["id"],
                render.moment(each["created_at"]),
                each["event"]["type"],
                each["event"]["resource_id"],
                each["status"],
                len(each["attempts"]),
                _answer(each),
                render.moment(each["next_attempt_at"]),
            )
            for each in found
        ),
    )


@app.command()
def delete(webhook_id: Id) -> None:
    """Delete an endpoint, its log, and what was on its way to it."""
    with connect() as yard:
        yard.delete(f"{ENDPOINTS}/{webhook_id}")
    render.out.print(f"deleted {webhook_id}")


def _show(endpoint: Document) -> None:
    render.facts(
        [
            ("id", endpoint["id"]),
            ("name", endpoint["name"]),
            ("url", endpoint["url"]),
            ("events", ", ".join(endpoint["event_types"])),
            ("state", _state(endpoint)),
            ("because", endpoint["disabled_reason"]),
            ("old secret signs until", render.moment(endpoint["old_secret_active_until"])),
        ]
    )


def _show_secret(endpoint: Document) -> None:
    secret = endpoint["signing_secret"]
    render.facts([("secret, shown this once", secret)])
    render.out.print(
        f'verify with  OpenAI(webhook_secret="{secret}").webhooks.unwrap(body, headers)',
        markup=False,
        soft_wrap=True,
    )


def _state(endpoint: Document) -> str:
    if not endpoint["enabled"]:
        return f"disabled {render.moment(endpoint['disabled_at'])}"
    return "enabled" if endpoint["failing_since"] is None else "failing"


def _answer(delivery: Document) -> str | None:
    if not delivery["attempts"]:
        return None
    last = delivery["attempts"][-1]
    return last["error"] or str(last["status_code"])
