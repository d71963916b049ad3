"""Which function a deployment names, and that it is one of ours."""

import importlib
from typing import Any

from prefect.flows import Flow

PACKAGE = "flows"


class EntrypointRefused(Exception):
    """A deployment names something that a yard worker does not run."""


def load_flow(entrypoint: str) -> Flow[..., Any]:
    """The flow behind `flows.module.function` or `flows.module:function`.

    Raises EntrypointRefused, before importing anything, for a module that is not ours: whoever may
    write a deployment in Prefect could otherwise run any code that is installed here.
    """
    module, _, function = entrypoint.replace(":", ".").rpartition(".")
    if not module.startswith(f"{PACKAGE}."):
        raise EntrypointRefused(
            f"{entrypoint!r} is not in the package {PACKAGE!r}, and a yard worker runs no other"
        )
    flow = getattr(importlib.import_module(module), function, None)
    if not isinstance(flow, Flow):
        raise EntrypointRefused(f"{entrypoint!r} is not a Prefect flow")
    if not flow.isasync or flow.isgenerator:
        raise EntrypointRefused(f"{entrypoint!r} is not an `async def` flow: it would block others")
    return flow
