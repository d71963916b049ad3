"""Housekeeping shows on Prefect's pages before its first run is due."""

import pytest

from tests.yard_process import YardProcess, until

pytestmark = [pytest.mark.engine, pytest.mark.prefect, pytest.mark.timeout(600)]


def test_housekeeping_is_scheduled(yard: YardProcess) -> None:
    def scheduled() -> bool:
        runs = yard.prefect("POST", "/flow_runs/filter", flows={"name": {"any_": ["housekeeping"]}})
        return any(run["expected_start_time"] and run["auto_scheduled"] for run in runs)

    until(scheduled, seconds=90, what="a scheduled run of housekeeping")
