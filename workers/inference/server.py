"""One vLLM server: started as a child in the gpu environment, watched, stopped.

vLLM is a program to us, not a library: it has its own environment and is spoken to over HTTP. It is
run as a module because not every build of it has a working `vllm` command.
"""

import asyncio
import json
import re
import shutil
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from orchestrator.child_process import ChildProcess

POLL_SECONDS = 0.25
HEALTH_SECONDS_MAX = 5.0
STOP_SECONDS_MAX = 10.0  # well within what a worker that goes down is given
LOAD_SECONDS_MAX = 120.0  # an adapter of a large model, from a slow disk
HTTP_OK = 200
HTTP_NOT_FOUND = 404
CPU_CACHE_GIB = 2  # for keys and values, where there is no GPU memory to measure
LAST_WORDS_CHARACTERS_MAX = 600

PLUGINS = Path(__file__).with_name("vllm_plugins")  # found by vLLM where it is on its path
SOCKET_PATH_BYTES_MAX = 107 - 37  # what Linux takes, less the names that vLLM gives its sockets

_NOT_FOR_ENGINES = ("YARD_", "PREFECT_", "PYTHON", "VIRTUAL_ENV", "VLLM_API_KEY")
_REQUESTS = re.compile(r"^vllm:num_requests_(?:running|waiting)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
_LOG_PREFIX = re.compile(r"^(?:\([^)]*\) ?)?(?:[A-Z]+ \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?")
_EXCEPTION = re.compile(r"^(?:[\w.]+(?:Error|Exception|Exit)|[\w.]+: error)(?::|$)")
_NOISE = ("Engine core initialization failed", "CancelledError", "SystemExit")


class EngineFailed(Exception):
    """The server ended, or did not answer in time; the message has its last words."""


class AdapterRefused(Exception):
    """The server would not take an adapter; the message says why, as it said it."""


@dataclass(frozen=True)
class AdapterRoom:
    """How many adapters an engine takes at once, and the largest rank of any (one of `SERVED_RANKS`)."""

    loaded_max: int
    rank_max: int


@dataclass(frozen=True)
class EngineSpec:
    """How to serve one base model.

    `source` is a folder, or a name that the engine can resolve by itself; `model` is what requests
    call it. `flags` are further arguments for vLLM and win over ours. `environment` is what the
    child inherits; the yard's own settings are kept from it. `lora` makes it take adapters. `sockets`
    is a folder of its own, made at its start and removed at its end.
    """

    id: str
    model: str
    source: str
    python: Path
    host: str
    api_key: str | None
    context_length: int
    max_num_seqs: int
    flags: Sequence[str]
    cuda: bool
    log: Path
    environment: Mapping[str, str]
    lora: AdapterRoom | None = None
    sockets: Path | None = None

    def argv(self, port: int) -> list[str]:
        """The command line. The key is not in it: any user of the machine can read that."""
        argv = [str(self.python), "-m", "vllm.entrypoints.openai.api_server"]
        argv += ["--model", self.source, "--served-model-name", self.model]
        argv += ["--host", self.host, "--port", str(port)]
        argv += ["--max-model-len", str(self.context_length)]
        argv += ["--max-num-seqs", str(self.max_num_seqs)]
        argv += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
        argv += ["--scheduling-policy", "priority"]  # synchronous requests go before batch lines
        if not self.cuda:
            argv += ["--enforce-eager"]
        if self.lora is not None:
            loaded_max = str(self.lora.loaded_max)
            argv += ["--enable-lora", "--max-lora-rank", str(self.lora.rank_max)]
            argv += ["--max-loras", loaded_max, "--max-cpu-loras", loaded_max]
        return argv + list(self.flags)

    def child_environment(self) -> dict[str, str]:
        """What the server finds in its environment."""
        inherited = {
            name: value for name, value in self.environment.items() if not name.startswith(_NOT_FOR_ENGINES)
        }
        ours = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
        if self.api_key is not None:
            ours["VLLM_API_KEY"] = self.api_key
        if Path(self.source).is_dir():
            ours |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if not self.cuda:
            ours["VLLM_CPU_KVCACHE_SPACE"] = str(CPU_CACHE_GIB)
        if self.lora is not None:
            ours["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
            if not self.cuda:
                ours["PYTHONPATH"] = str(PLUGINS)
        if self._sockets_fit():
            ours["VLLM_RPC_BASE_PATH"] = str(self.sockets)
        return inherited | ours

    def _sockets_fit(self) -> bool:
        """Whether its own folder can hold sockets; with too long a path vLLM uses the system's."""
        return self.sockets is not None and len(bytes(self.sockets)) <= SOCKET_PATH_BYTES_MAX


class EngineServer:
    """The life of one server: start, wait_ready, healthy as often as you like, stop."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._child: ChildProcess | None = None
        self.url = ""

    async def start(self) -> None:
        """Start it on a port of its own. Raises OSError if there is no such interpreter."""
        port = _free_port(self._spec.host)
        self.url = f"http://{self._spec.host}:{port}"
        if self._spec.sockets is not None:
            self._spec.sockets.mkdir(parents=True, exist_ok=True)
        self._child = await asyncio.to_thread(
            ChildProcess.spawn,
            self._spec.argv(port),
            env=self._spec.child_environment(),
            log=self._spec.log,
            cwd=self._spec.log.parent,  # away from our own packages, which have common names
            first_signal=signal.SIGTERM,
            grace_seconds=STOP_SECONDS_MAX,
        )

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Wait until it answers. Raises EngineFailed as soon as it has died, or when time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not await self.healthy():
            if not self.alive():
                raise EngineFailed(self.last_words())
            if time.monotonic() > deadline:
                raise EngineFailed(
                    f"not ready after {timeout_seconds:.0f} s. It said last: {self.last_words()}"
                )
            await asyncio.sleep(POLL_SECONDS)

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.poll() is None

    async def healthy(self) -> bool:
        """Whether it answers, and says that its engine core is well."""
        status, _ = await self._get("/health")
        return status == 200

    async def requests_in_flight(self) -> int:
        """How many requests it holds, running and waiting, whoever sent them; 0 if it is gone."""
        _, metrics = await self._get("/metrics")
        return int(sum(float(number) for number in _REQUESTS.findall(metrics)))

    async def load_adapter(self, name: str, folder: Path) -> None:
        """Make an adapter usable by its name; nothing to do if it is already.

        Raises AdapterRefused with the server's reason, and EngineFailed where it does not answer. The
        folder must stay while the name is loaded: vLLM may read it again.
        """
        if name in await self.adapters():
            return
        status, answer = await self._post(
            "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)}
        )
        if status != HTTP_OK:
            raise AdapterRefused(_reason(answer))

    async def unload_adapter(self, name: str) -> None:
        """Forget an adapter's name; nothing to do if it is not loaded. Lines that run with it finish.

        Raises AdapterRefused, and EngineFailed where it does not answer.
        """
        status, answer = await self._post("/v1/unload_lora_adapter", {"lora_name": name})
        if status not in (HTTP_OK, HTTP_NOT_FOUND):
            raise AdapterRefused(_reason(answer))

    async def adapters(self) -> set[str]:
        """The names that are loaded. Raises EngineFailed where it does not answer."""
        status, answer = await self._get("/v1/models")
        if status != HTTP_OK:
            raise EngineFailed(f"asked for its models it answered {status}")
        models = json.loads(answer)["data"]
        return {model["id"] for model in models if model.get("parent")}

    async def stop(self) -> None:
        """End it and everything it has started. No error if it has ended or never began."""
        if self._child is not None:
            await asyncio.to_thread(self._child.terminate, STOP_SECONDS_MAX)
        if self._spec.sockets is not None:
            await asyncio.to_thread(shutil.rmtree, self._spec.sockets, ignore_errors=True)

    def last_words(self) -> str:
        """Why it ended, as far as its log tells, in a line."""
        if self._child is None:
            return "it was never started"
        code = self._child.poll()
        ending = f" (ended by {signal.Signals(-code).name})" if code is not None and code < 0 else ""
        return telling(self._child.tail()) + ending

    async def _get(self, path: str) -> tuple[int, str]:
        """Status and text; (0, "") where it does not answer."""
        try:
            return await self._ask("GET", path, None, HEALTH_SECONDS_MAX)
        except EngineFailed:
            return 0, ""

    async def _post(self, path: str, body: dict[str, str]) -> tuple[int, str]:
        return await self._ask("POST", path, body, LOAD_SECONDS_MAX)

    async def _ask(
        self, method: str, path: str, body: dict[str, str] | None, seconds: float
    ) -> tuple[int, str]:
        key = self._spec.api_key
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=seconds),
                    headers={"Authorization": f"Bearer {key}"} if key else {},
                ) as session,
                session.request(method, self.url + path, json=body) as response,
            ):
                return response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineFailed(f"{path} was not answered: {type(error).__name__}") from error


def _reason(answer: str) -> str:
    """What an OpenAI error object says, or the answer as it came."""
    try:
        said: Any = json.loads(answer)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = answer
    return str(said)[:LAST_WORDS_CHARACTERS_MAX]


def telling(log: str) -> str:
    """The line of a vLLM log that says what went wrong: its last exception that is not the echo of
    another process's, with the line below that belongs to it; without one, its last lines."""
    lines = [_LOG_PREFIX.sub("", line).rstrip() for line in log.splitlines()]
    lines = [line for line in lines if line]
    for line, below in reversed(list(pairwise([*lines, ""]))):
        if _EXCEPTION.match(line) and not any(noise in line for noise in _NOISE):
            words = f"{line} {below.strip()}" if below.startswith("  ") else line
            return words[:LAST_WORDS_CHARACTERS_MAX]
    last = " | ".join(line.strip() for line in lines[-3:])
    return last[-LAST_WORDS_CHARACTERS_MAX:] or "nothing"


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
