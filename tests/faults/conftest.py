"""A customer of the one yard whose parts are killed."""

from collections.abc import Iterator

import openai
import pytest

from tests.customer import customer
from tests.yard_process import YardProcess


@pytest.fixture(scope="session")
def developer(yard: YardProcess) -> Iterator[openai.OpenAI]:
    """The official client of a developer."""
    with customer(yard) as client:
        yield client
