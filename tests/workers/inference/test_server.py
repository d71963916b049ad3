"""The life of a server, with a program in vLLM's place that starts, speaks and dies as told."""

import importlib.metadata
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from workers.inference import server as server_module
from workers.inference.server import AdapterRoom, EngineFailed, EngineServer, EngineSpec, telling

DEADLINE_SECONDS = 15.0

# Stands for `python -m vllm…`: finds its port in its arguments, and serves what vLLM serves.
ENGINE = """
import http.server, os, signal, subprocess, sys, time
{before}
class Engine(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists("well") or self.path == "/metrics" else 503)
        self.end_headers()
        self.wfile.write(b'vllm:num_requests_running{{engine="0",model_name="m"}} 3.0\\n'
                         b'vllm:num_requests_waiting{{engine="0",model_name="m"}} 2.0\\n'
                         b'vllm:num_requests_swapped{{engine="0"}} 9.0\\n')
open("well", "w").close()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Engine).serve_forever()
"""


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    return EngineSpec(
        id="eng_1",
        model="m",
        source=str(tmp_path),
        python=tmp_path / "python",
        host="127.0.0.1",
        api_key="secret",
        context_length=2048,
        max_num_seqs=8,
        flags=["--dtype", "float32"],
        cuda=False,
        log=tmp_path / "engine.log",
        environment={"PATH": "/usr/bin:/bin", "YARD_DATABASE_URL": "no", "PYTHONPATH": "/x"},
    )


Play = Callable[..., EngineServer]


@pytest.fixture
async def play(spec: EngineSpec) -> AsyncIterator[Play]:
    """Makes a server whose program does `before` first; all end with the test."""
    servers = []

    def play(before: str = "") -> EngineServer:
        spec.python.write_text(f"#!{sys.executable}\n" + ENGINE.format(before=before))
        spec.python.chmod(0o755)
        servers.append(EngineServer(spec))
        return servers[-1]

    yield play
    for server in servers:
        await server.stop()


async def test_a_server_is_ready_once_it_answers_and_gone_once_stopped(play: Play) -> None:
    server = play()
    await server.start()
    await server.wait_ready(DEADLINE_SECONDS)
    assert server.alive()
    assert await server.healthy()
    assert await server.requests_in_flight() == 5
    await server.stop()
    assert not server.alive()
    assert not await server.healthy()
    assert await server.requests_in_flight() == 0


async def test_a_server_that_dies_while_it_starts_ends_the_wait_with_its_last_words(
    play: Play,
) -> None:
    server = play("raise ValueError('no such model')")
    await server.start()
    began = time.monotonic()
    with pytest.raises(EngineFailed, match="ValueError: no such model"):
        await server.wait_ready(600.0)
    assert time.monotonic() - began < DEADLINE_SECONDS


async def test_a_server_that_was_killed_says_by_what(play: Play) -> None:
    server = play("print('loading', flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    await server.start()
    with pytest.raises(EngineFailed, match=r"loading \(ended by SIGKILL\)"):
        await server.wait_ready(600.0)


async def test_a_server_that_never_answers_is_given_up(play: Play) -> None:
    server = play("print('compiling', flush=True); time.sleep(600)")
    await server.start()
    with pytest.raises(EngineFailed, match="not ready after 0 s"):
        await server.wait_ready(0.3)


async def test_a_server_whose_core_is_ill_is_not_healthy(play: Play, spec: EngineSpec) -> None:
    server = play()
    await server.start()
    await server.wait_ready(DEADLINE_SECONDS)
    (spec.log.parent / "well").unlink()
    assert not await server.healthy()
    assert server.alive()


async def test_a_server_that_will_not_stop_is_killed_with_its_children(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "STOP_SECONDS_MAX", 0.1)
    server = play("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    await server.start()
    await server.wait_ready(DEADLINE_SECONDS)
    await server.stop()
    assert server.last_words().endswith(f"(ended by {signal.SIGKILL.name})")


async def test_an_interpreter_that_is_not_there_is_an_error_at_once(spec: EngineSpec) -> None:
    with pytest.raises(OSError, match=r"Cannot start .*nowhere"):
        await EngineServer(replace(spec, python=Path("/nowhere/python"))).start()


async def test_a_server_that_never_started_can_be_stopped(spec: EngineSpec) -> None:
    server = EngineServer(spec)
    await server.stop()
    assert server.last_words() == "it was never started"


def test_the_key_is_in_the_environment_and_in_no_argument(spec: EngineSpec) -> None:
    assert spec.child_environment()["VLLM_API_KEY"] == "secret"
    assert not any("secret" in argument for argument in spec.argv(1))


def test_the_yards_own_settings_are_kept_from_an_engine(spec: EngineSpec) -> None:
    environment = spec.child_environment()
    assert environment["PATH"] == "/usr/bin:/bin"
    assert not any(name.startswith(("YARD_", "PYTHON")) for name in environment)


def test_a_folder_is_served_without_a_hub_and_a_name_with_one(spec: EngineSpec) -> None:
    assert spec.child_environment()["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in replace(spec, source="org/model").child_environment()


def test_an_engine_reports_nothing_to_anybody(spec: EngineSpec) -> None:
    environment = spec.child_environment()
    assert (environment["VLLM_NO_USAGE_STATS"], environment["DO_NOT_TRACK"]) == ("1", "1")


def test_only_an_engine_without_a_gpu_runs_eagerly(spec: EngineSpec) -> None:
    assert "--enforce-eager" in spec.argv(1)
    assert "VLLM_CPU_KVCACHE_SPACE" in spec.child_environment()
    on_gpu = replace(spec, cuda=True)
    assert "--enforce-eager" not in on_gpu.argv(1)
    assert "VLLM_CPU_KVCACHE_SPACE" not in on_gpu.child_environment()


def test_a_models_own_flags_come_last_and_win(spec: EngineSpec) -> None:
    assert spec.argv(1)[-2:] == ["--dtype", "float32"]


def test_an_engine_takes_adapters_only_where_it_is_told_to(spec: EngineSpec) -> None:
    assert "--enable-lora" not in spec.argv(1)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in spec.child_environment()
    taking = replace(spec, lora=AdapterRoom(loaded_max=4, rank_max=16))
    assert taking.child_environment()["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
    argv = taking.argv(1)
    found = {
        flag: argv[argv.index(flag) + 1] for flag in ("--max-lora-rank", "--max-loras", "--max-cpu-loras")
    }
    assert found == {"--max-lora-rank": "16", "--max-loras": "4", "--max-cpu-loras": "4"}


def test_vllm_finds_the_plugin_for_base_lines_only_where_it_needs_it(spec: EngineSpec) -> None:
    taking = replace(spec, lora=AdapterRoom(loaded_max=4, rank_max=16))
    found = importlib.metadata.distributions(path=[taking.child_environment()["PYTHONPATH"]])
    points = [point for one in found for point in one.entry_points]
    assert [(point.group, point.value) for point in points] == [
        ("vllm.general_plugins", "yard_base_rows:keep_base_rows")
    ]
    assert "PYTHONPATH" not in spec.child_environment()
    assert "PYTHONPATH" not in replace(taking, cuda=True).child_environment()


def test_sockets_lie_in_the_engines_own_folder_where_its_path_is_short_enough(spec: EngineSpec) -> None:
    short = replace(spec, sockets=Path("/yard/sockets/eng_1"))
    assert short.child_environment()["VLLM_RPC_BASE_PATH"] == "/yard/sockets/eng_1"
    too_long = replace(spec, sockets=Path("/yard" * 30))
    assert "VLLM_RPC_BASE_PATH" not in too_long.child_environment()


async def test_the_folder_for_sockets_lives_as_long_as_its_server(play: Play, spec: EngineSpec) -> None:
    spec = replace(spec, sockets=spec.log.parent / "sockets")
    play()  # writes the program
    server = EngineServer(spec)
    await server.start()
    assert spec.sockets is not None
    assert spec.sockets.is_dir()
    await server.stop()
    assert not spec.sockets.exists()


CORE_DIED = """\
(APIServer pid=1) INFO 11-23 19:00:00 [api_server.py:100] vLLM API server version 0.32.0
(EngineCore pid=2) ERROR 11-23 19:00:09 [core.py:1000] EngineCore failed to start.
(EngineCore pid=2) ERROR 11-23 19:00:09 [core.py:1000] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-23 19:00:09 [core.py:1000]   File "core.py", line 1, in run
(EngineCore pid=2) ERROR 11-23 19:00:09 [core.py:1000] ValueError: 1.5 GiB KV cache is needed
(EngineCore pid=2) Process EngineCore:
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "api_server.py", line 2, in <module>
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_the_cause_is_told_and_not_its_echo() -> None:
    assert telling(CORE_DIED) == "ValueError: 1.5 GiB KV cache is needed"


def test_a_wrong_flag_is_told() -> None:
    log = "usage: api_server.py [-h]\napi_server.py: error: unrecognized arguments: --max-loops 3\n"
    assert telling(log) == "api_server.py: error: unrecognized arguments: --max-loops 3"


def test_what_an_exception_says_in_its_second_line_is_told() -> None:
    log = "(APIServer pid=1) pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
    log += "(APIServer pid=1)   Value error, Invalid repository ID\n(APIServer pid=1) Please verify:\n"
    assert telling(log) == (
        "pydantic_core.ValidationError: 1 validation error for ModelConfig Value error, Invalid repository ID"
    )


def test_a_log_without_an_exception_tells_its_last_lines() -> None:
    log = "a\nb\n(APIServer pid=1) INFO 11-23 19:00:00 [x.py:1] c\n\nd\n"
    assert telling(log) == "b | c | d"
    assert telling("") == "nothing"
