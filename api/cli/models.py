"""`yard model` and `yard tiers`: what there is to run, and what each tier may do with it."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Document, connect

app = typer.Typer(no_args_is_help=True, help="See which models the yard runs, and their prices.")

Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the models that your tier may use."""
    with connect() as yard:
        models = yard.get("/models")["data"]
    if json:
        render.show_json(models)
        return
    render.table(
        ("MODEL", "CONTEXT", "INPUT / 1M", "CACHED / 1M", "OUTPUT / 1M"),
        ((model["id"], model["context_window"], *_prices(model)) for model in models),
    )


@app.command("show")
def show_model(model_id: Annotated[str, typer.Argument(metavar="MODEL")], json: Json = False) -> None:
    """Show one model: its context, endpoints and prices.

    ```
    yard model show yard-smoke
    ```
    """
    with connect() as yard:
        model = yard.get(f"/models/{model_id}")
    if json:
        render.show_json(model)
        return
    input_price, cached_price, output_price = _prices(model)
    render.facts(
        (
            ("id", model["id"]),
            ("about", model["description"]),
            ("owned by", model["owned_by"]),
            ("context", model["context_window"]),
            ("endpoints", ", ".join(model["endpoints"])),
            ("input", f"{input_price} per million tokens"),
            ("cached input", f"{cached_price} per million tokens"),
            ("output", f"{output_price} per million tokens"),
        )
    )


def tiers(json: Json = False) -> None:
    """Print the tiers: every limit there is, and what each tier makes of it. Needs no key.

    ```
    yard tiers
    yard tiers --json
    ```
    """
    with connect(None) as yard:
        answer = yard.get("/tiers")
    if json:
        render.show_json(answer)
        return
    found = answer["data"]
    names = [name for name in found[0] if name not in ("object", "id", "name")]
    render.table(
        ("", *(tier["title"] for tier in found)),
        ((name.replace("_", " "), *(_limit(tier.get(name)) for tier in found)) for name in names),
    )


def _prices(model: Document) -> tuple[str, str, str]:
    """Micro-dollars a million tokens, as money."""
    input_price, cached_price, output_price = (
        render.dollars(model["prices"][name]) for name in ("input", "cached_input", "output")
    )
    return input_price, cached_price, output_price


def _limit(value: object) -> object:
    if value is None:
        return "no limit"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else value
