"""What is registered with Prefect, in Python and in YAML."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prefect.cli.deploy._models import PrefectYamlModel

from flows.deployments import ANCHOR, DEFAULT_QUEUE, DEPLOYMENTS, SCHEDULE_SLUG, pools, queue_order
from flows.reconcile import POOLS
from orchestrator.entitlements.tiers import Tiers
from orchestrator.settings import PROJECT, Settings

PREFECT_YAML = PROJECT / "infra" / "prefect.yaml"


def test_the_queue_of_the_most_urgent_tier_is_served_first() -> None:
    assert queue_order(Tiers.load()) == ["enterprise", "developer", "free", "default"]


def test_the_pools_hold_what_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = pools(Settings(cpu_slots=7, gpus=3))
    assert ((cpu.name, cpu.limit), (gpu.name, gpu.limit)) == (("cpu", 7), ("gpu", 3))
    assert (cpu.name, gpu.name) == POOLS


def test_the_yaml_for_prefects_own_command_says_the_same() -> None:
    file = PrefectYamlModel.model_validate(yaml.safe_load(PREFECT_YAML.read_text("utf-8")))
    said = {
        (d.name, d.entrypoint, d.work_pool and (d.work_pool.name, d.work_pool.work_queue_name))
        for d in file.deployments
    }
    assert said == {(d.name, d.entrypoint, (d.pool, DEFAULT_QUEUE)) for d in DEPLOYMENTS}
    schedules = {
        deployment.name: (schedule.interval, schedule.anchor_date, schedule.slug)
        for deployment in file.deployments
        for schedule in deployment.schedules or []
    }
    assert schedules == {d.name: (d.every, ANCHOR.isoformat(), SCHEDULE_SLUG) for d in DEPLOYMENTS if d.every}


def test_the_yaml_is_written_for_the_prefect_that_is_pinned() -> None:
    pinned = "prefect==" + yaml.safe_load(PREFECT_YAML.read_text("utf-8"))["prefect-version"]
    assert f'"{pinned}"' in Path(PROJECT / "pyproject.toml").read_text("utf-8")


def test_housekeeping_is_the_only_flow_on_a_schedule() -> None:
    assert [(d.name, d.every) for d in DEPLOYMENTS if d.every] == [("housekeeping", timedelta(minutes=10))]
