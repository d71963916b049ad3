"""`yard batch`: run the lines of a file, and everything one may do with the batch that results."""

from pathlib import Path
from typing import Annotated

import typer

from api.cli import files, render
from api.cli.client import Client, Document, connect
from api.cli.exits import HELP, Exit
from api.cli.metadata import Metadata, metadata_pairs
from api.cli.watch import outcome, watch

app = typer.Typer(
    no_args_is_help=True, help="Run the lines of a JSONL file, watch them, fetch their results."
)

BatchId = Annotated[str, typer.Argument(metavar="BATCH_ID", help="for example batch_8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]
Wait = Annotated[bool, typer.Option("--wait", help="Watch until it has ended; Ctrl-C is safe.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the results here; failed lines go beside it, as NAME.errors.jsonl.",
    ),
]


@app.command(epilog=HELP)
def submit(
    file: files.Readable,
    wait: Wait = False,
    window: Annotated[str, typer.Option(help="Completion window: 24h to 7d.")] = "24h",
    endpoint: Annotated[
        str | None, typer.Option(help="Default: the url that most lines of the file name.")
    ] = None,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Run the good lines even if some are bad.")
    ] = False,
    metadata: Metadata = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Upload a JSONL file and start a batch of its lines.

    ```
    yard batch submit lines.jsonl
    yard batch submit lines.jsonl --wait --output results.jsonl
    yard batch submit lines.jsonl --window 48h --skip-invalid --metadata team=search
    ```
    """
    pairs = metadata_pairs(metadata or [])
    if output is not None and not wait:
        raise typer.BadParameter("--output needs --wait: there are no results before the end")
    with connect() as yard:
        stored = files.upload(yard, file, purpose="batch")
        batch = yard.post(
            "/batches",
            {
                "input_file_id": stored["id"],
                "endpoint": endpoint or _endpoint(stored),
                "completion_window": window,
                **({"metadata": pairs} if pairs else {}),
                **({"tokenyard": {"on_invalid_line": "skip"}} if skip_invalid else {}),
            },
        )
        _started(yard, batch, wait=wait, output=output, json=json)


@app.command()
def validate(file: files.Readable, json: Json = False) -> None:
    """Check a file without running it: every bad line, its tokens, its cost, when it would be done.

    Ends with 1 if a line is bad.

    ```
    yard batch validate lines.jsonl
    ```

    The file is uploaded, so that the yard can count its tokens, and deleted again.
    """
    with connect() as yard:
        stored = files.upload(yard, file, purpose="batch")
        try:
            found = yard.post(f"/files/{stored['id']}/validate")
        finally:
            yard.delete(f"/files/{stored['id']}")
    render.show_json(found) if json else _show_validation(found)
    if found["bad_lines"]:
        raise typer.Exit(Exit.FAILED)


@app.command("get")
def get_batch(batch_id: BatchId, json: Json = False) -> None:
    """Show one batch: its status, counts, tokens, cost, files, and where to look in Prefect."""
    with connect() as yard:
        batch = yard.get(f"/batches/{batch_id}")
    render.show_json(batch) if json else show(batch)


@app.command("list")
def list_batches(limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20, json: Json = False) -> None:
    """List batches, newest first."""
    with connect() as yard:
        batches = yard.items("/batches", limit=limit)
    if json:
        render.show_json(batches)
        return
    render.table(
        ("ID", "STATUS", "DONE", "FAILED", "LINES", "COST", "CREATED"),
        (
            (
                batch["id"],
                batch["status"],
                batch["request_counts"]["completed"],
                batch["request_counts"]["failed"],
                batch["request_counts"]["total"],
                render.dollars(batch["cost"]["amount_micros"]),
                render.moment(batch["created_at"]),
            )
            for batch in batches
        ),
    )


@app.command("watch", epilog=HELP)
def watch_batch(batch_id: BatchId, output: Output = None, json: Json = False) -> None:
    """Watch a batch until it has ended. Ctrl-C ends the watching; the batch goes on.

    ```
    yard batch watch batch_… --output results.jsonl
    ```
    """
    with connect() as yard:
        _watch_to_the_end(yard, batch_id, output=output, json=json)


@app.command("output")
def batch_output(
    batch_id: BatchId,
    after: Annotated[int, typer.Option(min=0, help="How many results you have already.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o")] = None,
) -> None:
    """Fetch the results so far, even while the batch runs, in the order in which they came.

    The output file of an ended batch has them in the order of its lines: `yard files content`.

    ```
    yard batch output batch_… > results.jsonl
    yard batch output batch_… --after 1000
    ```
    """
    with connect() as yard:
        files.download(yard, f"/batches/{batch_id}/output", output, after=after)


@app.command()
def cancel(batch_id: BatchId, json: Json = False) -> None:
    """Cancel a batch. What is done is kept and charged; the rest is not run."""
    with connect() as yard:
        batch = yard.post(f"/batches/{batch_id}/cancel")
    render.show_json(batch) if json else show(batch)


@app.command(epilog=HELP)
def retry(batch_id: BatchId, wait: Wait = False, output: Output = None, json: Json = False) -> None:
    """Run the lines of an ended batch that have no result once more, as a new batch.

    ```
    yard batch retry batch_… --wait
    ```
    """
    with connect() as yard:
        batch = yard.post(f"/batches/{batch_id}/retry")
        _started(yard, batch, wait=wait, output=output, json=json)


def show(batch: Document) -> None:
    """Print one Batch."""
    counts, usage, progress = batch["request_counts"], batch["usage"], batch["progress"]
    render.facts(
        (
            ("id", batch["id"]),
            ("status", batch["status"]),
            ("waiting for", progress["waiting_for"]),
            (
                "lines",
                f"{counts['completed']:,} completed, {counts['failed']:,} failed of {counts['total']:,}",
            ),
            (
                "tokens",
                f"{usage['input_tokens']:,} in"
                f" ({usage['input_tokens_details']['cached_tokens']:,} cached),"
                f" {usage['output_tokens']:,} out",
            ),
            ("cost", render.dollars(batch["cost"]["amount_micros"])),
            ("took", _took(batch)),
            ("model", batch["model"]),
            ("retry of", batch["retry_of"]),
            ("input file", batch["input_file_id"]),
            ("output file", batch["output_file_id"]),
            ("error file", batch["error_file_id"]),
            ("report file", batch["report_file_id"]),
            ("Prefect run", batch["flow_run_url"]),
        )
    )
    files.problems(batch["errors"]["data"] if batch["errors"] else [])


def _show_validation(found: Document) -> None:
    quote = found["quote"]
    render.facts(
        (
            ("lines", found["lines"]),
            ("bad lines", found["bad_lines"]),
            ("all problems", found["report_file_id"]),
            ("models", ", ".join(f"{m['id']} ({m['lines']})" for m in found["models"])),
            (
                "tokens",
                f"{quote['prompt_tokens']:,} in, {quote['expected_output_tokens']:,} out"
                f" (at most {quote['worst_output_tokens']:,})",
            ),
            (
                "cost",
                f"{render.dollars(quote['expected_cost_micros'])}"
                f" (at most {render.dollars(quote['worst_cost_micros'])})",
            ),
            ("begins in", _seconds(quote, "start")),
            ("done in", _seconds(quote, "finish")),
            ("because", quote["basis"]),
        )
    )
    files.problems(found["problems"])


def _seconds(quote: Document, moment: str) -> str | None:
    if quote[f"{moment}_p50_seconds"] is None:
        return None
    likely, late = (render.duration(quote[f"{moment}_{p}_seconds"]) for p in ("p50", "p90"))
    return likely if likely == late else f"{likely}, or {late} in one case of ten"


def _started(yard: Client, batch: Document, *, wait: bool, output: Path | None, json: bool) -> None:
    if wait:
        render.err.print(f"started {batch['id']}", soft_wrap=True)
        _watch_to_the_end(yard, batch["id"], output=output, json=json)
    elif json:
        render.show_json(batch)
    else:
        render.out.print(f"started {batch['id']}", soft_wrap=True)
        render.out.print(f"watch it: yard batch watch {batch['id']}", soft_wrap=True)


def _watch_to_the_end(yard: Client, batch_id: str, *, output: Path | None, json: bool) -> None:
    try:
        batch = watch(yard, batch_id)
    except KeyboardInterrupt:
        render.err.print(f"\nThe batch goes on. Watch it again: yard batch watch {batch_id}", soft_wrap=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    if output is not None:
        _fetch(yard, batch, output)
    render.show_json(batch) if json else show(batch)
    raise typer.Exit(outcome(batch))


def _fetch(yard: Client, batch: Document, output: Path) -> None:
    errors = output.with_name(f"{output.stem}.errors.jsonl")
    for file_id, path in ((batch["output_file_id"], output), (batch["error_file_id"], errors)):
        if file_id is not None:
            files.download(yard, f"/files/{file_id}/content", path)
            render.err.print(f"wrote {path}", soft_wrap=True)


def _endpoint(stored: Document) -> str:
    """The url that most lines name; the yard says which are wrong."""
    urls: dict[str, int] = (stored.get("validation") or {}).get("endpoints", {})
    return max(urls, key=lambda url: urls[url]) if urls else "/v1/chat/completions"


def _took(batch: Document) -> str | None:
    ended = batch["completed_at"] or batch["expired_at"] or batch["cancelled_at"]
    if ended is None or batch["in_progress_at"] is None:
        return None
    return render.duration(ended - batch["in_progress_at"])
