"""The real engine, for the tests here that are marked `engine`."""

from tests.engine_fixture import engine_server, engine_spec, engine_target
from tests.smoke_fixture import smoke_model

__all__ = ["engine_server", "engine_spec", "engine_target", "smoke_model"]
