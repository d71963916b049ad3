"""The smoke model, made once."""

from tests.smoke_fixture import smoke_model

__all__ = ["smoke_model"]
