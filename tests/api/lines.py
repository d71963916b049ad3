"""Batch files and datasets, small."""

import json


def jsonl(lines: int, *, model: str = "yard-smoke", words: int = 1) -> bytes:
    """A file of chat requests that could all run."""
    return b"".join(line(number, model=model, words=words) for number in range(1, lines + 1))


def line(number: int, *, model: str = "yard-smoke", words: int = 1) -> bytes:
    """One chat request."""
    request = {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": "hello " * words}]},
    }
    return json.dumps(request).encode() + b"\n"


def dataset(examples: int) -> bytes:
    """A file of chat examples to train on."""
    return b"".join(example(number) for number in range(1, examples + 1))


def example(number: int) -> bytes:
    """One chat example."""
    messages = [
        {"role": "user", "content": f"What is {number} and {number}?"},
        {"role": "assistant", "content": f"It is {2 * number}."},
    ]
    return json.dumps({"messages": messages}).encode() + b"\n"
