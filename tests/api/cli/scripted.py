"""A yard's API over real HTTP that says what a test tells it to, and remembers what was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Body = dict[str, Any] | bytes


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ScriptedApi:
    """`answers` maps `GET /v1/…` to what is said to it, in turn; the last one again and again."""

    url: str = ""
    answers: dict[str, list[tuple[int, Body]]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, request: str, *bodies: Body, status: int = 200) -> None:
        self.answers.setdefault(request, []).extend((status, body) for body in bodies)

    def refuse(self, request: str, status: int, **error: Any) -> None:
        known = {"message": "No.", "type": "invalid_request_error", "param": None, "code": None}
        self.on(request, {"error": known | error}, status=status)

    def requests(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        script = self.answers.get(f"{asked.method} {asked.path}")
        if script is None:
            return 404, json.dumps({"error": {"message": "not in the script"}}).encode()
        status, body = script[0] if len(script) == 1 else script.pop(0)
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()


@contextmanager
def serving() -> Iterator[ScriptedApi]:
    """The API on a free port as long as the block."""
    api = ScriptedApi()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("content-length", 0))
            query = dict(parse_qsl(address.query))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length)
            status, answer = api.answer(Asked(self.command, address.path, query, headers, body))
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.send_header("x-request-id", "req_1")
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


def batch(status: str, *, completed: int = 0, failed: int = 0, **changes: Any) -> dict[str, Any]:
    """A Batch of four lines as the API shows it."""
    shown = {
        "id": "batch_1",
        "status": status,
        "model": "yard-smoke",
        "errors": None,
        "input_file_id": "file-in",
        "output_file_id": None,
        "error_file_id": None,
        "report_file_id": None,
        "retry_of": None,
        "flow_run_url": None,
        "request_counts": {"total": 4, "completed": completed, "failed": failed},
        "usage": {
            "input_tokens": 1200,
            "input_tokens_details": {"cached_tokens": 800},
            "output_tokens": 30,
        },
        "progress": {
            "lines_done": completed + failed,
            "lines_total": 4,
            "lines_per_second": 2.0 if status == "in_progress" else None,
            "tokens_per_second": None,
            "eta_seconds": 1 if status == "in_progress" else None,
            "waiting_for": None,
        },
        "cost": {"amount_micros": 4321, "currency": "usd", "charged": True},
        "created_at": 1_790_000_000,
        "in_progress_at": 1_790_000_001,
        "completed_at": 1_790_000_090 if status == "completed" else None,
        "expired_at": None,
        "cancelled_at": None,
    }
    return shown | changes


def file(**changes: Any) -> dict[str, Any]:
    """A File of four lines, two endpoints, as the API shows it."""
    shown = {
        "id": "file-in",
        "filename": "lines.jsonl",
        "purpose": "batch",
        "bytes": 1234,
        "created_at": 1_790_000_000,
        "expires_at": None,
        "validation": {
            "lines": 4,
            "bad_lines": 0,
            "models": {"yard-smoke": 4},
            "endpoints": {"/v1/completions": 1, "/v1/chat/completions": 3},
            "first_problems": [],
        },
    }
    return shown | changes


LORA = {"r": 16, "alpha": 32, "dropout": 0.1, "target_modules": [], "use_rslora": True}


def fine_tuning(status: str, *, step: int = 0, **changes: Any) -> dict[str, Any]:
    """A fine-tuning job of four steps as the API shows it. `tokenyard` in `changes` adds to ours."""
    running = status == "running"
    ours = {
        "tier": "enterprise",
        "progress": {
            "step": step,
            "total_steps": None if status == "validating_files" else 4,
            "trained_tokens": 100 * step,
            "steps_per_second": 2.0 if running else None,
            "eta_seconds": 1 if running else None,
            "waiting_for": None,
        },
        "queue": {"position": 2, "estimated_start": None} if status == "queued" else None,
        "lora": None if status == "validating_files" else LORA,
        "cost": {"amount_micros": 200, "currency": "usd", "charged": status == "succeeded"},
        "peak_memory_bytes": None,
        "report_file": None,
        "flow_run_url": None,
        "running_at": 1_790_000_010,
    }
    shown = {
        "id": "ftjob-1",
        "object": "fine_tuning.job",
        "status": status,
        "model": "yard-smoke",
        "fine_tuned_model": "ft:yard-smoke:acme::abcdefgh" if status == "succeeded" else None,
        "created_at": 1_790_000_000,
        "finished_at": 1_790_000_100 if status in ("succeeded", "failed", "cancelled") else None,
        "error": None,
        "hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0},
        "seed": 7,
        "training_file": "file-in",
        "validation_file": None,
        "result_files": ["file-metrics"] if status == "succeeded" else [],
    }
    return shown | changes | {"tokenyard": ours | changes.get("tokenyard", {})}


def event(number: int, message: str, *, loss: float | None = None) -> dict[str, Any]:
    """An event of a fine-tuning job as the API shows it: metrics where there is a loss."""
    return {
        "id": f"ftevent-{number}",
        "created_at": 1_790_000_000 + number,
        "level": "info",
        "type": "message" if loss is None else "metrics",
        "message": message,
        "data": {} if loss is None else {"step": number, "train_loss": loss},
    }
