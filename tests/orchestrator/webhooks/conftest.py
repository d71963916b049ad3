"""A project that wants to be told."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchestrator.database.session import Database
from orchestrator.organizations.model import Project
from orchestrator.webhooks.model import WebhookEndpoint
from tests.factories import make_endpoint, make_project
from tests.receiver import Receiver, receiving

MakeEndpoint = Callable[..., WebhookEndpoint]


@pytest.fixture
def project(database: Database) -> Project:
    with database.transaction() as tx:
        return make_project(tx)


@pytest.fixture
def endpoint(database: Database, project: Project) -> MakeEndpoint:
    """Makes endpoints of the project, committed."""

    def make(**columns: Any) -> WebhookEndpoint:
        with database.transaction() as tx:
            return make_endpoint(tx, project=project, **columns)

    return make


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver
