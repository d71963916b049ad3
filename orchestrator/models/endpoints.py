"""The endpoints that a line of a batch may name, as far as the engine of its model serves them."""

from typing import Literal, get_args

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"]
ENDPOINTS: tuple[str, ...] = get_args(Endpoint)
