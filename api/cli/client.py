"""The one way from the command line to a yard: HTTP, with a key, and errors a person can read."""

import json
from collections.abc import Iterator
from typing import IO, Any, Literal, cast
from urllib.parse import urlsplit

import httpx

from orchestrator.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 600.0  # as the official SDKs; validating a large file takes minutes
DOWNLOAD_CHUNK_BYTES = 1 << 20
PAGE_ITEMS = 100

Bearer = Literal["developer", "operator"]
Document = dict[str, Any]  # a JSON object in the shape that api/schemas declares


class NoKey(Exception):
    """There is no key to show to the yard."""


class Refused(Exception):
    """The yard's own words for a 4xx or 5xx answer."""

    def __init__(self, status: int, error: Document, request_id: str | None) -> None:
        super().__init__(error.get("message") or f"HTTP {status}")
        self.status = status
        self.code: str | None = error.get("code")
        self.param: str | None = error.get("param")
        self.request_id = request_id


class Unreachable(Exception):
    """Nothing answers at the yard's address."""


class Client:
    """An open connection to one yard. Use as a context manager."""

    def __init__(self, base_url: str, api_key: str | None) -> None:
        """`base_url` without `/v1`. A yard on this machine is reached past any proxy."""
        self.base_url = base_url
        self._http = httpx.Client(
            base_url=f"{base_url}/v1",
            headers={} if api_key is None else {"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not _is_local(base_url),
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Document:
        """One object, or one page of a list. Raises Refused, Unreachable."""
        return self._send("GET", path, params=_given(query))

    def post(self, path: str, body: Document | None = None) -> Document:
        """What the yard made or changed. Raises Refused, Unreachable."""
        return self._send("POST", path, json=body or {})

    def delete(self, path: str) -> Document:
        """Raises Refused, Unreachable."""
        return self._send("DELETE", path)

    def items(self, path: str, *, limit: int, page_items: int | None = None, **query: Any) -> list[Document]:
        """The first `limit` items of a list, page by page. Raises Refused, Unreachable."""
        page_items = page_items or PAGE_ITEMS
        items: list[Document] = []
        while len(items) < limit:
            page = self.get(path, limit=min(page_items, limit - len(items)), **query)
            items += page["data"]
            if not page.get("has_more") or not page["data"]:
                break
            query["after"] = page["data"][-1]["id"]
        return items

    def upload(self, file: IO[bytes], *, filename: str, purpose: str) -> Document:
        """Store a file, read from disk while it is sent. Raises Refused, Unreachable."""
        parts = {"file": (filename, file, "application/octet-stream")}
        return self._send("POST", "/files", data={"purpose": purpose}, files=parts)

    def download(self, path: str, **query: Any) -> Iterator[bytes]:
        """The bytes behind `path`, in pieces. Raises Refused, Unreachable."""
        try:
            with self._http.stream("GET", path, params=_given(query), follow_redirects=True) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                yield from answer.iter_bytes(DOWNLOAD_CHUNK_BYTES)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def events(self, path: str, body: Document) -> Iterator[Document]:
        """What the yard answers piece by piece, as server-sent events. Raises Refused, Unreachable."""
        try:
            with self._http.stream("POST", path, json=body) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                begun = b""
                for piece in answer.iter_bytes():
                    *whole, begun = (begun + piece).split(b"\n\n")
                    for event in whole:
                        if (data := event.removeprefix(b"data: ")) != b"[DONE]":
                            yield json.loads(data)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _send(self, method: str, path: str, **how: Any) -> Document:
        try:
            answer = self._http.request(method, path, **how)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None
        if answer.is_error:
            raise _refusal(answer)
        return cast(Document, answer.json())

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        hint = (
            "Start one with `yard up`, or set YARD_BASE_URL to the yard you mean."
            if _is_local(self.base_url)
            else "Check YARD_BASE_URL."
        )
        reason = str(error) or type(error).__name__
        return Unreachable(f"No yard answers at {self.base_url}: {reason}. {hint}")


def connect(bearer: Bearer | None = "developer") -> Client:
    """The yard of YARD_BASE_URL, or else this machine's.

    The key is YARD_API_KEY; for a yard on this machine, else that of `bearer` in its demo keys.
    None: for what anybody may read. Raises NoKey.
    """
    settings = Settings()
    base_url = (settings.base_url or settings.api_url()).rstrip("/").removesuffix("/v1")
    if bearer is None:
        return Client(base_url, None)
    if settings.api_key is not None:
        return Client(base_url, settings.api_key.get_secret_value())
    if not _is_local(base_url):
        raise NoKey(f"No key for {base_url}. Set YARD_API_KEY to one of its keys.")
    try:
        return Client(base_url, json.loads(settings.keys_file().read_text())[bearer])
    except (FileNotFoundError, PermissionError) as error:
        raise NoKey(
            f"No key: YARD_API_KEY is not set, and {error.filename} is {_trouble(error)}. If a yard"
            " runs on this machine, set YARD_HOME to its home; `yard up` starts one."
        ) from None


def _is_local(base_url: str) -> bool:
    return urlsplit(base_url).hostname in LOOPBACK


def _trouble(error: OSError) -> str:
    return "not there" if isinstance(error, FileNotFoundError) else "not yours to read"


def _given(query: Document) -> Document:
    return {name: value for name, value in query.items() if value is not None}


def _refusal(answer: httpx.Response) -> Refused:
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = {"message": f"HTTP {answer.status_code} {answer.reason_phrase}, not in our words"}
    return Refused(answer.status_code, error, answer.headers.get("x-request-id"))
