"""A real vLLM with adapters that come and go: whoever shares its rounds, the base answers as the base."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from tests.adapter_files import make_adapter
from tests.engine_fixture import API_KEY, MODEL, START_SECONDS_MAX
from workers.inference.server import AdapterRefused, AdapterRoom, EngineServer, EngineSpec

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

ROOM = AdapterRoom(loaded_max=2, rank_max=8)
QUESTIONS = ["What is the capital of France?", "What is 12 + 30?", "Reverse the word: stone", "Say hello."]
ROUNDS = 3
LOAD_SECONDS_MAX = 3.0


async def answer(client: aiohttp.ClientSession, url: str, model: str, question: str) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 8,
        "temperature": 0,
    }
    async with client.post(f"{url}/v1/chat/completions", json=body) as response:
        text = await response.text()
        assert response.status == 200, text
        said: str = json.loads(text)["choices"][0]["message"]["content"]
        return said


async def answers(server: EngineServer, models: Sequence[str]) -> dict[str, list[str]]:
    """What each model says to each question, all asked at once, so that they share the engine's rounds."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {API_KEY}"}) as client:
        asked = [(model, question) for question in QUESTIONS for model in models]
        said = await asyncio.gather(*(answer(client, server.url, *one) for one in asked))
    return {
        model: [text for (name, _), text in zip(asked, said, strict=True) if name == model]
        for model in models
    }


async def test_base_lines_stay_the_bases_however_many_adapters_have_come_and_gone(
    engine_spec: EngineSpec, smoke_model: Path, tmp_path: Path
) -> None:
    names = [f"ft:yard-smoke:acme::{number}" for number in range(4)]
    folders = [make_adapter(tmp_path / str(n), smoke_model, seed=n) for n in range(4)]
    flags = ["--dtype", "float32", "--no-enable-prefix-caching"]
    spec = replace(engine_spec, lora=ROOM, flags=flags, log=tmp_path / "engine.log", sockets=tmp_path / "s")
    server = EngineServer(spec)
    await server.start()
    try:
        await server.wait_ready(START_SECONDS_MAX)
        base = (await answers(server, [MODEL]))[MODEL]
        alone: dict[str, list[str]] = {}
        loaded: list[str] = []
        for name, folder in zip(names, folders, strict=True):
            if len(loaded) == ROOM.loaded_max:
                await server.unload_adapter(loaded.pop(0))
            began = time.monotonic()
            await server.load_adapter(name, folder)
            assert time.monotonic() - began < LOAD_SECONDS_MAX
            loaded.append(name)
            assert await server.adapters() == set(loaded)
            alone |= await answers(server, [name])
            assert alone[name] != base
            for _ in range(ROUNDS):
                mixed = await answers(server, [MODEL, *loaded])
                assert mixed[MODEL] == base
                assert {model: mixed[model] for model in loaded} == {model: alone[model] for model in loaded}
        await server.load_adapter(loaded[0], folders[2])  # is there already
        await server.unload_adapter("ft:yard-smoke:acme::unknown")
        too_large = make_adapter(tmp_path / "large", smoke_model, seed=9, rank=16)
        with pytest.raises(AdapterRefused, match="rank"):
            await server.load_adapter("ft:yard-smoke:acme::large", too_large)
    finally:
        await server.stop()
    assert not (tmp_path / "s").exists()
