"""An engine that does what a test tells it, over real HTTP."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from workers.inference.client import Target

Script = Callable[["ScriptedEngine", web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def completion(text: str, **usage: Any) -> dict[str, Any]:
    """A chat completion as vLLM answers it, with made-up token counts."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, **usage},
    }


async def echo(engine: "ScriptedEngine", request: web.Request, body: dict[str, Any]) -> web.Response:
    """Say what the user said."""
    return web.json_response(completion(body["messages"][-1]["content"]))


@dataclass
class ScriptedEngine:
    """`script` answers every request. What came in is kept: bodies, contents, how many at once."""

    script: Script = echo
    bodies: list[bytes] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    in_flight_max: int = 0
    aborted: int = 0
    healthy: bool = True
    api_key: str | None = None
    server: TestServer | None = None

    async def start(self) -> None:
        """Listen on a port of its own."""
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._health)  # where a yard looks for a remote engine
        app.router.add_post("/{path:.*}", self._answer)
        self.server = TestServer(app)
        await self.server.start_server()  # whose handlers are cancelled with their clients, as vLLM's

    async def die(self) -> None:
        """Cut every connection and refuse new ones, as a killed process does."""
        assert self.server is not None
        runner = self.server.runner
        assert runner is not None
        for site in list(runner.sites):
            await site.stop()
        self.cut()

    def cut(self) -> None:
        """Abort every connection; whatever listens goes on listening."""
        assert self.server is not None
        assert self.server.runner is not None
        assert self.server.runner.server is not None
        for connection in list(self.server.runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def stop(self) -> None:
        assert self.server is not None
        await self.server.close()

    def target(self, slots: int, engine_id: str | None = None) -> Target:
        """This engine as an order names it."""
        assert self.server is not None
        url = f"http://127.0.0.1:{self.server.port}"
        return Target(engine_id or f"eng_{self.server.port}", url, self.api_key, slots)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return web.Response(status=401)
        raw = await request.read()
        body = json.loads(raw)
        self.bodies.append(raw)
        self.seen[body["messages"][-1]["content"]] += 1
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            return await self.script(self, request, body)
        except asyncio.CancelledError:
            self.aborted += 1
            raise
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def scripted_engine(script: Script = echo, **fields: Any) -> AsyncIterator[ScriptedEngine]:
    """A ScriptedEngine that listens, and stops with the block."""
    engine = ScriptedEngine(script, **fields)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
