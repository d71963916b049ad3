"""`yard fine-tune`: teach a base model by examples, watch it learn, and use what comes out."""

from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Client, Document, connect
from api.cli.datasets import Dataset, Validation, uploaded
from api.cli.exits import HELP, Exit
from api.cli.fine_tune_options import (
    Alpha,
    BatchSize,
    Beta,
    Dropout,
    EarlyStopping,
    Epochs,
    EvaluateEvery,
    ExampleTokens,
    Method,
    MethodOption,
    Model,
    Multiplier,
    Quantization,
    Rank,
    Rslora,
    TargetModules,
    method_body,
)
from api.cli.fine_tune_show import show, show_estimate, steps
from api.cli.fine_tune_watch import outcome, watch
from api.cli.metadata import Metadata, metadata_pairs

app = typer.Typer(
    no_args_is_help=True, help="Fine-tune a base model on a dataset, watch its loss, use the result."
)

JobId = Annotated[str, typer.Argument(metavar="JOB_ID", help="for example ftjob-8k2m…")]
Json = Annotated[bool, typer.Option("--json", help="The API's own answer, for scripts.")]
Wait = Annotated[bool, typer.Option("--wait", help="Watch until it has ended; Ctrl-C is safe.")]


@app.command(epilog=HELP)
def create(
    dataset: Dataset,
    model: Model,
    validation: Validation = None,
    method: MethodOption = Method.SUPERVISED,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    multiplier: Multiplier = None,
    beta: Beta = None,
    rank: Rank = None,
    alpha: Alpha = None,
    dropout: Dropout = None,
    target_modules: TargetModules = None,
    rslora: Rslora = False,
    evaluate_every: EvaluateEvery = None,
    early_stopping: EarlyStopping = None,
    example_tokens: ExampleTokens = None,
    quantization: Quantization = None,
    suffix: Annotated[str | None, typer.Option(help="A part of the new model's name.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same model.")] = None,
    metadata: Metadata = None,
    wait: Wait = False,
    json: Json = False,
) -> None:
    """Upload a dataset and train a LoRA adapter on it.

    ```
    yard fine-tune create train.jsonl --model yard-smoke --suffix topics --wait
    yard fine-tune create train.jsonl --model yard-smoke --epochs 3 --json
    yard fine-tune create pairs.jsonl --model yard-smoke --method dpo --beta 0.1
    ```

    Each example is one line of the dataset; only what the assistant says is learnt:

    ```
    {"messages": [{"role": "user", "content": "2+2?"},
                  {"role": "assistant", "content": "4"}]}
    {"prompt": "2+2?", "completion": "4"}
    {"input": {"messages": […]}, "preferred_output": […],
     "non_preferred_output": […]}                                with dpo
    ```

    At least 10 of them. What is left out is chosen by the dataset. When it is done, name the new model
    in the lines of a batch, beside its base and others.
    """
    pairs = metadata_pairs(metadata or [])
    body = {
        "model": model,
        "suffix": suffix,
        "seed": seed,
        "metadata": pairs or None,
        "method": method_body(
            method,
            epochs=epochs,
            batch_size=batch_size,
            multiplier=multiplier,
            beta=beta,
            rank=rank,
            alpha=alpha,
            dropout=dropout,
            target_modules=target_modules,
            rslora=rslora,
            evaluate_every=evaluate_every,
            early_stopping=early_stopping,
            example_tokens=example_tokens,
            quantization=quantization,
        ),
    }
    with connect() as yard:
        with uploaded(yard, dataset, validation, keep=True) as files:
            job = yard.post("/fine_tuning/jobs", body | files)
        _started(yard, job, wait=wait, json=json)


@app.command()
def estimate(
    dataset: Dataset,
    model: Model,
    validation: Validation = None,
    method: MethodOption = Method.SUPERVISED,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    multiplier: Multiplier = None,
    beta: Beta = None,
    rank: Rank = None,
    alpha: Alpha = None,
    dropout: Dropout = None,
    target_modules: TargetModules = None,
    rslora: Rslora = False,
    evaluate_every: EvaluateEvery = None,
    early_stopping: EarlyStopping = None,
    example_tokens: ExampleTokens = None,
    quantization: Quantization = None,
    json: Json = False,
) -> None:
    """Check a dataset without training: every bad example, tokens, steps, price, duration and memory.

    Ends with 1 if an example is bad. Takes what `create` takes, and leaves nothing behind.

    ```
    yard fine-tune estimate train.jsonl --model yard-smoke --epochs 3
    ```
    """
    how = method_body(
        method,
        epochs=epochs,
        batch_size=batch_size,
        multiplier=multiplier,
        beta=beta,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        target_modules=target_modules,
        rslora=rslora,
        evaluate_every=evaluate_every,
        early_stopping=early_stopping,
        example_tokens=example_tokens,
        quantization=quantization,
    )
    with connect() as yard, uploaded(yard, dataset, validation, keep=False) as files:
        found = yard.post("/fine_tuning/jobs/estimate", {"model": model, "method": how} | files)
    render.show_json(found) if json else show_estimate(found)
    if not found["trainable"]:
        raise typer.Exit(Exit.FAILED)


@app.command("get")
def get_job(job_id: JobId, json: Json = False) -> None:
    """Show one job: its status, step, place in the queue, numbers, model, cost and files."""
    with connect() as yard:
        job = yard.get(f"/fine_tuning/jobs/{job_id}")
    render.show_json(job) if json else show(job)


@app.command("list")
def list_jobs(limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20, json: Json = False) -> None:
    """List jobs, newest first."""
    with connect() as yard:
        jobs = yard.items("/fine_tuning/jobs", limit=limit)
    if json:
        render.show_json(jobs)
        return
    render.table(
        ("ID", "STATUS", "STEP", "BASE", "MODEL", "COST", "CREATED"),
        (
            (
                job["id"],
                job["status"],
                steps(job),
                job["model"],
                job["fine_tuned_model"],
                render.dollars(job["tokenyard"]["cost"]["amount_micros"]),
                render.moment(job["created_at"]),
            )
            for job in jobs
        ),
    )


@app.command("watch", epilog=HELP)
def watch_job(job_id: JobId, json: Json = False) -> None:
    """Watch a job until it has ended or is paused. Ctrl-C ends the watching; the job goes on.

    ```
    yard fine-tune watch ftjob-…
    ```
    """
    with connect() as yard:
        _watch_to_the_end(yard, job_id, json=json)


@app.command("events")
def job_events(
    job_id: JobId,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The latest so many.")] = 20,
    json: Json = False,
) -> None:
    """Print the latest events of a job, the newest last: messages, and the metrics of every step."""
    with connect() as yard:
        events = yard.items(f"/fine_tuning/jobs/{job_id}/events", limit=limit)
    if json:
        render.show_json(events)
        return
    render.table(
        ("TIME", "LEVEL", "MESSAGE"),
        ((render.moment(e["created_at"]), e["level"], e["message"]) for e in reversed(events)),
    )


@app.command("checkpoints")
def job_checkpoints(job_id: JobId, json: Json = False) -> None:
    """List the last checkpoints of a job. Each is a model that requests may name."""
    with connect() as yard:
        checkpoints = yard.get(f"/fine_tuning/jobs/{job_id}/checkpoints")["data"]
    if json:
        render.show_json(checkpoints)
        return
    render.table(
        ("STEP", "MODEL", "LOSS", "VALIDATION LOSS", "CREATED"),
        (
            (
                row["step_number"],
                row["fine_tuned_model_checkpoint"],
                row["metrics"].get("train_loss"),
                row["metrics"].get("valid_loss"),
                render.moment(row["created_at"]),
            )
            for row in checkpoints
        ),
    )


@app.command()
def cancel(job_id: JobId, json: Json = False) -> None:
    """End a job after its current step, for good. Its last checkpoints stay usable, and are charged."""
    _ask(job_id, "cancel", json=json)


@app.command()
def pause(job_id: JobId, json: Json = False) -> None:
    """Stop a job after its current step; it gives its GPUs back until it is resumed."""
    _ask(job_id, "pause", json=json)


@app.command()
def resume(job_id: JobId, json: Json = False) -> None:
    """Go on with a paused job where it stopped. The model is the same as without the pause."""
    _ask(job_id, "resume", json=json)


def _started(yard: Client, job: Document, *, wait: bool, json: bool) -> None:
    if wait:
        render.err.print(f"started {job['id']}", soft_wrap=True)
        _watch_to_the_end(yard, job["id"], json=json)
    elif json:
        render.show_json(job)
    else:
        render.out.print(f"started {job['id']}", soft_wrap=True)
        render.out.print(f"watch it: yard fine-tune watch {job['id']}", soft_wrap=True)


def _watch_to_the_end(yard: Client, job_id: str, *, json: bool) -> None:
    try:
        job = watch(yard, job_id)
    except KeyboardInterrupt:
        render.err.print(f"\nThe job goes on. Watch it again: yard fine-tune watch {job_id}", soft_wrap=True)
        raise typer.Exit(Exit.INTERRUPTED) from None
    render.show_json(job) if json else show(job)
    if job["status"] == "paused":
        render.err.print(f"go on: yard fine-tune resume {job_id}", soft_wrap=True)
    raise typer.Exit(outcome(job))


def _ask(job_id: str, verb: str, *, json: bool) -> None:
    with connect() as yard:
        job = yard.post(f"/fine_tuning/jobs/{job_id}/{verb}")
    render.show_json(job) if json else show(job)
