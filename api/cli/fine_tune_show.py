"""How a fine-tuning job and an estimate of one are printed."""

from api.cli import render
from api.cli.client import Document


def show(job: Document) -> None:
    """Print one fine-tuning job."""
    ours = job["tokenyard"]
    error = job["error"]
    render.facts(
        (
            ("id", job["id"]),
            ("status", job["status"]),
            ("error", error and error["message"]),
            ("waiting for", ours["progress"]["waiting_for"]),
            ("queue", ours["queue"] and place(ours["queue"])),
            ("base model", job["model"]),
            ("model", job["fine_tuned_model"]),
            ("step", steps(job)),
            ("numbers", ", ".join(f"{name} {value}" for name, value in job["hyperparameters"].items())),
            ("adapter", ours["lora"] and _adapter(ours["lora"])),
            ("seed", str(job["seed"])),
            ("tokens", ours["progress"]["trained_tokens"]),
            ("cost", render.dollars(ours["cost"]["amount_micros"])),
            ("took", _took(job)),
            ("memory", ours["peak_memory_bytes"] and render.size(ours["peak_memory_bytes"])),
            ("training file", job["training_file"]),
            ("validation file", job["validation_file"]),
            ("metrics file", next(iter(job["result_files"]), None)),
            ("report file", ours["report_file"]),
            ("Prefect run", ours["flow_run_url"]),
        )
    )


def steps(job: Document) -> str | None:
    """`20/100`, once the number of steps is known."""
    progress = job["tokenyard"]["progress"]
    return f"{progress['step']}/{progress['total_steps']}" if progress["total_steps"] else None


def place(queue: Document) -> str:
    """A job's place in the queue, in words."""
    words = f"place {queue['position']} in the queue"
    if queue["estimated_start"] is None:
        return words
    return f"{words}, starts about {render.moment(queue['estimated_start'])}"


def show_estimate(found: Document) -> None:
    """Print what a training would be: its problems, its numbers, its price."""
    quote, error = found["estimate"] or {}, found["error"]
    render.facts(
        (
            ("error", error and error["message"]),
            ("bad examples", found["bad_examples"] or None),
            ("all problems", found["report_file"]),
            ("examples", quote.get("examples")),
            ("cut off", quote.get("truncated_examples") or None),
            ("validation", quote.get("validation_examples") or None),
            *(_prediction(found) if quote else ()),
        )
    )
    for warning in quote.get("warnings", ()):
        render.out.print(warning, markup=False, soft_wrap=True)
    if found["problems"]:
        render.table(
            ("FILE", "LINE", "CODE", "PARAM", "PROBLEM"),
            ((p["file"], p["line"], p["code"], p["param"], p["message"]) for p in found["problems"]),
        )


def _prediction(found: Document) -> tuple[tuple[str, object], ...]:
    quote, numbers, lora = found["estimate"], found["training"], found["lora"]
    seconds, needed = quote["duration_seconds"], quote["memory_needed_bytes"]
    there = render.size(quote["memory_available_bytes"])
    return (
        (
            "steps",
            f"{quote['total_steps']:,} in {quote['n_epochs']} epochs of {numbers['batch_size']} a step",
        ),
        ("learning rate", numbers["learning_rate"]),
        ("adapter", _adapter(lora)),
        ("tokens", f"{quote['trained_tokens']:,}, {quote['tokens_per_epoch']:,} an epoch"),
        ("cost", render.dollars(quote["cost_micros"])),
        ("takes", seconds and render.duration(seconds)),
        ("because", quote["duration_basis"]),
        ("memory", f"{render.size(needed)} of {there}" if needed else f"not known, of {there}"),
    )


def _adapter(lora: Document) -> str:
    words = [
        f"rank {lora['r']}",
        f"alpha {lora['alpha']}",
        ", ".join(lora["target_modules"]) or "every layer",
    ]
    if lora["dropout"]:
        words.append(f"dropout {lora['dropout']:g}")
    if lora["use_rslora"]:
        words.append("rsLoRA")
    return ", ".join(words)


def _took(job: Document) -> str | None:
    began = job["tokenyard"]["running_at"]
    if job["finished_at"] is None or began is None:
        return None
    return render.duration(job["finished_at"] - began)
