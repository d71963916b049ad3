"""Many batches at once, several tenants, and two yards on one machine."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from tests.customer import assert_each_line_once, chat, customer, done, submit
from tests.fakes import ScriptedEngine
from tests.yard_fixture import REMOTE
from tests.yard_process import YardProcess, running_yard

pytestmark = [pytest.mark.engine, pytest.mark.prefect, pytest.mark.timeout(600)]

BATCHES = 100
CREATE_SECONDS_MAX = 20.0


def test_a_hundred_small_batches_created_at_once_all_complete(
    enterprise: openai.OpenAI, yard: YardProcess
) -> None:
    sent = [chat(0), chat(1)]
    file_id = submit(enterprise, sent).input_file_id
    begun = time.monotonic()
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda _: _create(enterprise, file_id), range(BATCHES)))
    assert time.monotonic() - begun < CREATE_SECONDS_MAX
    ended = [done(enterprise, yard, batch) for batch in made]
    for batch in ended:
        assert batch.request_counts is not None
        assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 0)
    assert_each_line_once(enterprise, ended[-1], sent)


def test_organizations_see_and_reach_only_what_is_theirs(
    developer: openai.OpenAI, enterprise: openai.OpenAI, yard: YardProcess
) -> None:
    batch = done(developer, yard, submit(developer, [chat(0)]))
    for reach in (
        lambda: enterprise.batches.retrieve(batch.id),
        lambda: enterprise.batches.cancel(batch.id),
        lambda: enterprise.files.content(batch.output_file_id or ""),
        lambda: enterprise.files.retrieve(batch.input_file_id),
    ):
        with pytest.raises(openai.NotFoundError):
            reach()
    assert batch.id not in {seen.id for seen in enterprise.batches.list(limit=100).data}


def test_a_tier_may_use_only_its_models(yard: YardProcess) -> None:
    with customer(yard, "free") as free, pytest.raises(openai.PermissionDeniedError, match="yard-smoke"):
        submit(free, [chat(0, model=REMOTE)])


def test_a_second_yard_runs_beside_the_first(
    yard: YardProcess, tmp_path: Path, models_file: Path, remote_engine: ScriptedEngine
) -> None:
    sections = models_file.read_text().split("\n\n")
    models = tmp_path / "models.toml"
    models.write_text(next(text for text in sections if text.startswith(f'[models."{REMOTE}"]')))
    with running_yard({"YARD_MODELS_FILE": str(models)}) as second, customer(second) as client:
        assert {second.api_port, second.prefect_port}.isdisjoint({yard.api_port, yard.prefect_port})
        sent = [chat(number, model=REMOTE) for number in range(3)]
        batch = done(client, second, submit(client, sent))
        assert_each_line_once(client, batch, sent)
        assert [seen.id for seen in client.batches.list().data] == [batch.id]
    with customer(yard) as client, pytest.raises(openai.NotFoundError):
        client.batches.retrieve(batch.id)


def _create(client: openai.OpenAI, file_id: str) -> openai.types.Batch:
    return client.batches.create(
        input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h"
    )
