"""`yard model` and `yard tiers`: what there is to run, and what each tier may do with it."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from api.cli import render
from api.cli.client import Document, connect
from api.cli.files import Readable, download, upload

app = typer.Typer(no_args_is_help=True, help="Models and their prices; bring, fetch, share adapters.")

Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]
ModelId = Annotated[str, typer.Argument(metavar="MODEL", help="for example yard-smoke, or ft:yard-smoke:…")]


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the models that you may name: base models, your adapters, shared ones."""
    with connect() as yard:
        models = yard.get("/models")["data"]
    if json:
        render.show_json(models)
        return
    render.table(
        ("MODEL", "CONTEXT", "INPUT / 1M", "CACHED / 1M", "OUTPUT / 1M", "OWNER"),
        ((model["id"], model["context_window"], *_prices(model), model["owned_by"]) for model in models),
    )


@app.command("get")
def get_model(model_id: ModelId, json: Json = False) -> None:
    """Show one model: its context, endpoints and prices; of an adapter, how it was made.

    ```
    yard model get yard-smoke
    ```
    """
    with connect() as yard:
        model = yard.get(_path(model_id))
    render.show_json(model) if json else _show(model)


@app.command("import")
def import_adapter(
    archive: Readable,
    base: Annotated[str, typer.Option(help="The base model that it was trained on.")],
    name: Annotated[str | None, typer.Option(help="Becomes a part of the model's name.")] = None,
    json: Json = False,
) -> None:
    """Bring a LoRA adapter: a ZIP of adapter_model.safetensors and adapter_config.json.

    ```
    zip -j adapter.zip adapter_model.safetensors adapter_config.json
    yard model import adapter.zip --base yard-smoke --name topics
    ```
    """
    with connect() as yard:
        file = upload(yard, archive, purpose="fine_tuning")
        body = {"input_file_id": file["id"], "base_model": base, "name": name, "type": "lora"}
        try:
            made = yard.post("/fine_tunings", body)
        finally:
            yard.delete(f"/files/{file['id']}")  # refused or taken in: the ZIP has done its service
    render.show_json(made) if json else print(made["data"]["fine_tuned_model"])


@app.command("download")
def download_model(
    model_id: ModelId,
    output: Annotated[Path, typer.Option("--output", "-o", help="The ZIP to write.")] = Path("adapter.zip"),
) -> None:
    """Fetch an adapter of yours as a ZIP that PEFT loads once it is unpacked."""
    with connect() as yard:
        download(yard, f"{_path(model_id)}/content", output)
    render.out.print(f"wrote {output}", markup=False, soft_wrap=True)


@app.command("delete")
def delete_model(model_id: ModelId, json: Json = False) -> None:
    """Delete an adapter of yours. Batches that name it already go on."""
    with connect() as yard:
        answer = yard.delete(_path(model_id))
    render.show_json(answer) if json else print(f"deleted {model_id}")


@app.command("share")
def share_model(
    model_id: ModelId,
    private: Annotated[bool, typer.Option("--private", help="Take it back: its own organization's.")] = False,
    json: Json = False,
) -> None:
    """Let every organization use an adapter (operators)."""
    with connect("operator") as yard:
        model = yard.post(_path(model_id), {"shared": not private})
    if json:
        render.show_json(model)
    else:
        print(f"{model_id} is {'private' if private else 'shared'} now")


def tiers(json: Json = False) -> None:
    """Print the tiers: every limit there is, what each tier makes of it, and what models cost. Needs no key.

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
        ((name.replace("_", " "), *(_allowed(tier, name) for tier in found)) for name in names),
    )
    render.table(
        ("LIST PRICES", "INPUT / 1M", "CACHED / 1M", "OUTPUT / 1M", "TRAINED / 1M"),
        ((model["id"], *_prices(model), _trained(model)) for model in answer["models"]),
    )
    render.err.print(answer["sandbox"], style="dim", soft_wrap=True)


def _path(model_id: str) -> str:
    return f"/models/{quote(model_id, safe='')}"


def _show(model: Document) -> None:
    input_price, cached_price, output_price = _prices(model)
    adapter = model.get("adapter") or {}
    render.facts(
        (
            ("id", model["id"]),
            ("about", model["description"]),
            ("owned by", model["owned_by"]),
            ("created", render.moment(model["created"])),
            ("base", model["parent"]),
            ("context", model["context_window"]),
            ("endpoints", ", ".join(model["endpoints"])),
            ("input", f"{input_price} per million tokens"),
            ("cached input", f"{cached_price} per million tokens"),
            ("output", f"{output_price} per million tokens"),
            ("changes", ", ".join(adapter["target_modules"]) if adapter else None),
            ("made by", adapter.get("source")),
            ("sha256", adapter.get("sha256")),
            ("size", render.size(adapter["bytes"]) if adapter else None),
            ("shared", adapter.get("shared")),
        )
    )


def _prices(model: Document) -> tuple[str, str, str]:
    """Micro-dollars a million tokens, as money."""
    input_price, cached_price, output_price = (
        render.dollars(model["prices"][name]) for name in ("input", "cached_input", "output")
    )
    return input_price, cached_price, output_price


def _trained(model: Document) -> str | None:
    price = model["prices"]["training"]
    return None if price is None else render.dollars(price)


def _allowed(tier: Document, name: str) -> object:
    value = tier.get(name)
    if name == "support_contact" or (name == "fine_tuning_jobs" and not tier.get("fine_tuning")):
        return value  # nothing is no limit here
    if value is None:
        return "no limit"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else value
