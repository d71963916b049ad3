"""A customer of the one yard whose parts are killed, and its books after each kill."""

from collections.abc import Iterator

import openai
import pytest

from tests.books import assert_books_agree
from tests.customer import customer
from tests.yard_process import YardProcess


@pytest.fixture(scope="session")
def developer(yard: YardProcess) -> Iterator[openai.OpenAI]:
    """The official client of a developer."""
    with customer(yard) as client:
        yield client


@pytest.fixture(autouse=True)
def _books_agree(yard: YardProcess) -> Iterator[None]:
    """Whatever was killed, every charge and balance follows from result files and checkpoints."""
    yield
    assert_books_agree(yard)
