"""Customers of the one yard, and a batch that is doomed from the start and fails while others run."""

from collections.abc import Iterator

import openai
import pytest
from openai.types import Batch

from tests.books import assert_books_agree
from tests.customer import chat, customer, submit
from tests.yard_fixture import BROKEN
from tests.yard_process import YardProcess


@pytest.fixture(scope="session")
def developer(yard: YardProcess) -> Iterator[openai.OpenAI]:
    """The official client of a developer."""
    with customer(yard) as client:
        yield client


@pytest.fixture(scope="session")
def enterprise(yard: YardProcess) -> Iterator[openai.OpenAI]:
    """The official client of an enterprise."""
    with customer(yard, "enterprise") as client:
        yield client


@pytest.fixture(scope="session", autouse=True)
def doomed(enterprise: openai.OpenAI) -> Batch:
    """A batch whose model no engine can load, sent first: giving up takes three starts of vLLM."""
    return submit(enterprise, [chat(0, model=BROKEN), chat(1, model=BROKEN)])


@pytest.fixture(scope="session", autouse=True)
def _books_agree(yard: YardProcess) -> Iterator[None]:
    """After all that was finished, cancelled, retried and trained, every charge follows from the files."""
    yield
    assert_books_agree(yard)
