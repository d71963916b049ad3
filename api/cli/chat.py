"""`yard chat`: one question to a model now, before a batch of many."""

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from api.cli import render
from api.cli.client import Client, Document, Refused, connect

LOOK_SECONDS = 2.0  # at a model that is not warm
COLD = "model_cold"


def chat(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="yard-smoke, or ft:yard-smoke:…")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT")],
    system: Annotated[str | None, typer.Option(help="What the model is told first.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 for the likeliest words.")] = None,
    wait_seconds: Annotated[float, typer.Option(help="How long to wait for a warm engine.")] = 300.0,
) -> None:
    """Ask a model something and read its answer as it is written.

    It is for trying a model before a batch: small limits, no promise of latency. A model that has no warm
    engine is started, which this waits for.

    ```
    yard chat yard-smoke "What is the capital of France?"
    ```
    """
    told = [] if system is None else [{"role": "system", "content": system}]
    body: Document = {
        "model": model,
        "messages": [*told, {"role": "user", "content": prompt}],
        "max_tokens": max_tokens,
        "temperature": temperature,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    asked = {name: value for name, value in body.items() if value is not None}
    with connect() as yard:
        _show(_once_warm(yard, asked, time.monotonic() + wait_seconds))


def _once_warm(yard: Client, body: Document, deadline: float) -> Iterator[Document]:
    told = False
    while True:
        try:
            yield from yard.events("/chat/completions", body)
            return
        except Refused as error:
            if error.code != COLD or time.monotonic() > deadline:
                raise
            if not told:
                render.err.print(str(error), style="dim", markup=False, soft_wrap=True)
                told = True
        time.sleep(LOOK_SECONDS)


def _show(events: Iterator[Document]) -> None:
    usage: Document = {}
    for event in events:
        if "error" in event:
            raise Refused(503, event["error"], None)
        for choice in event["choices"]:
            if text := choice["delta"].get("content"):
                render.out.print(text, end="", markup=False, soft_wrap=True)
        usage = event.get("usage") or usage
    render.out.print()
    if usage:
        counts = f"{usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out"
        render.err.print(counts, style="dim")
