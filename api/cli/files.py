"""`yard files`: what batches read and write."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from api.cli import render
from api.cli.client import Client, Document, connect

app = typer.Typer(no_args_is_help=True, help="Upload, look at and fetch files.")

FileId = Annotated[str, typer.Argument(metavar="FILE_ID", help="for example file-8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]
Readable = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True)]


@app.command("list")
def list_files(
    purpose: Annotated[str | None, typer.Option(help="Only these: batch, batch_output.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    json: Json = False,
) -> None:
    """List files, newest first."""
    with connect() as yard:
        files = yard.items("/files", limit=limit, purpose=purpose)
    if json:
        render.show_json(files)
        return
    render.table(
        ("ID", "PURPOSE", "SIZE", "CREATED", "NAME"),
        (
            (
                file["id"],
                file["purpose"],
                render.size(file["bytes"]),
                render.moment(file["created_at"]),
                file["filename"],
            )
            for file in files
        ),
    )


@app.command("upload")
def upload_file(
    file: Readable,
    purpose: Annotated[str, typer.Option(help="What it is for.")] = "batch",
    json: Json = False,
) -> None:
    """Upload a file, streamed from disk, and say what was seen of its lines.

    ```
    yard files upload lines.jsonl
    ```
    """
    with connect() as yard:
        stored = upload(yard, file, purpose=purpose)
    render.show_json(stored) if json else show(stored)


@app.command("get")
def get_file(file_id: FileId, json: Json = False) -> None:
    """Show one file: its size, when it expires, and the first problems of its lines."""
    with connect() as yard:
        file = yard.get(f"/files/{file_id}")
    render.show_json(file) if json else show(file)


@app.command("content")
def file_content(
    file_id: FileId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here rather than to the terminal.")
    ] = None,
) -> None:
    """Fetch a file's bytes.

    ```
    yard files content file-… > results.jsonl
    ```
    """
    with connect() as yard:
        download(yard, f"/files/{file_id}/content", output)


@app.command("delete")
def delete_file(file_id: FileId, json: Json = False) -> None:
    """Delete a file. Batches that have read it are not touched."""
    with connect() as yard:
        answer = yard.delete(f"/files/{file_id}")
    render.show_json(answer) if json else render.out.print(f"deleted {file_id}")


def upload(yard: Client, path: Path, *, purpose: str) -> Document:
    """Send a file from disk with a bar on stderr. Raises Refused, Unreachable."""
    columns = (
        *(TextColumn("uploading {task.description}"), BarColumn(), DownloadColumn()),
        *(TransferSpeedColumn(), TimeRemainingColumn()),
    )
    visible = render.err.is_terminal
    with (
        Progress(*columns, console=render.err, disable=not visible, transient=True) as progress,
        progress.open(path, "rb", description=path.name) as file,
    ):
        return yard.upload(file, filename=path.name, purpose=purpose)


def download(yard: Client, address: str, output: Path | None, **query: str | int | None) -> None:
    """Write what `address` holds to a file, or to the terminal. Raises Refused, Unreachable."""
    chunks = yard.download(address, **query)
    if output is None:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    unfinished = output.with_name(f"{output.name}.part")
    try:
        with unfinished.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)


def show(file: Document) -> None:
    """Print one File."""
    seen = file.get("validation")
    render.facts(
        (
            ("id", file["id"]),
            ("name", file["filename"]),
            ("purpose", file["purpose"]),
            ("size", render.size(file["bytes"])),
            ("created", render.moment(file["created_at"])),
            ("expires", render.moment(file["expires_at"])),
            ("lines", seen and seen["lines"]),
            ("bad lines", seen and (seen["bad_lines"] or None)),
            ("models", seen and ", ".join(f"{m} ({n})" for m, n in seen["models"].items())),
        )
    )
    problems(seen["first_problems"] if seen else [])


def problems(found: list[Document]) -> None:
    """Print what is wrong with which lines, if anything is."""
    if found:
        render.table(
            ("LINE", "CODE", "PARAM", "PROBLEM"),
            ((p["line"], p["code"], p["param"], p["message"]) for p in found),
        )
