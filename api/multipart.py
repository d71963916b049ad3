"""A `multipart/form-data` body as a stream of parts: pulled, never collected, never spilled to
disk.

    async for part in parts(request, bytes_max=…):
        if part.filename is None:
            text = await part.text()
        else:
            async for chunk in part.chunks(): ...

Starlette's own form reader writes the whole upload to a temporary file before a route sees it.
"""

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from orchestrator.errors import Invalid
from orchestrator.files.intake import SizeCheck

PARTS_MAX = 16
FIELD_BYTES_MAX = 8 * 1024
# Boundaries, part headers and small fields around the file; what a body may have beyond the limit.
ENVELOPE_BYTES_MAX = 64 * 1024


@dataclass
class Part:
    """One part of the form. Its bytes can be read once, and only before the next part is asked
    for."""

    name: str
    filename: str | None
    _body: "_Body"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The part's bytes as they arrive. Raises Invalid where the body ends before the part
        does."""
        while isinstance(event := await self._body.next(), bytes):
            yield event

    async def text(self) -> str:
        """A small field's value. Raises Invalid beyond FIELD_BYTES_MAX bytes."""
        value = b""
        async for chunk in self.chunks():
            value += chunk
            if len(value) > FIELD_BYTES_MAX:
                raise Invalid(
                    f"The form field '{self.name}' has more than {FIELD_BYTES_MAX} bytes.",
                    param=self.name,
                )
        return value.decode("utf-8", "replace")


async def parts(request: Request, *, check_size: SizeCheck) -> AsyncIterator[Part]:
    """The form's parts in the order they were sent. Unread bytes of a part are skipped, and the end
    of the iteration means that the closing boundary has arrived: nothing is missing.

    Raises Invalid where the body is no form or ends early, and what `check_size` raises as soon as
    the body, less the form's own few bytes, is announced or seen to be too large.
    """
    body = _Body(request, check_size)
    for _ in range(PARTS_MAX):
        part = await body.next_part()
        if part is None:
            return
        yield part
    raise Invalid(f"The form has more than {PARTS_MAX} parts.")


class _End:
    """The end of one part."""


@dataclass
class _Finished:
    """The closing boundary."""


@dataclass
class _Headers:
    """A part's headers while they arrive in pieces."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    name: bytes = b""
    value: bytes = b""

    def close_one(self) -> None:
        self.values[self.name.lower()] = self.value
        self.name = self.value = b""


_Event = bytes | Part | _End | _Finished


class _Body:
    """Feeds the push parser from the request until it has an event to give."""

    def __init__(self, request: Request, check_size: SizeCheck) -> None:
        kind, options = parse_options_header(request.headers.get("content-type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise Invalid(
                "The body must be multipart/form-data with a boundary, found content type "
                f"'{kind.decode('latin-1') or 'none'}'."
            )
        self._check_size = check_size
        announced = request.headers.get("content-length", "")
        if announced.isdigit():
            check_size(int(announced) - ENVELOPE_BYTES_MAX)
        self._stream = request.stream()
        self._read = 0
        self._events: deque[_Event] = deque()
        self._headers = _Headers()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": self._on_header_field,
                    "on_header_value": self._on_header_value,
                    "on_header_end": lambda: self._headers.close_one(),
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": self._on_part_data,
                    "on_part_end": lambda: self._events.append(_End()),
                    "on_end": lambda: self._events.append(_Finished()),
                },
            )
        except FormParserError as error:
            raise Invalid(f"The form could not be read: {error}.") from None

    async def next(self) -> _Event:
        """The next event, reading on while there is none. Raises Invalid at an early end."""
        while not self._events:
            chunk = await anext(self._stream, b"")
            if not chunk:
                raise Invalid("The upload ended early: its closing boundary never came. Send it again.")
            self._read += len(chunk)
            self._check_size(self._read - ENVELOPE_BYTES_MAX)
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise Invalid(f"The form could not be read: {error}.") from None
        return self._events.popleft()

    async def next_part(self) -> Part | None:
        """The next part, or None after the last."""
        while True:
            event = await self.next()
            if isinstance(event, Part):
                return event
            if isinstance(event, _Finished):
                return None

    def _on_part_begin(self) -> None:
        self._headers = _Headers()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._headers.name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._headers.value += data[start:end]

    def _on_headers_finished(self) -> None:
        disposition = self._headers.values.get(b"content-disposition", b"").decode("latin-1")
        _, options = parse_options_header(disposition)
        filename = options.get(b"filename")
        self._events.append(
            Part(
                name=options.get(b"name", b"").decode("utf-8", "replace"),
                filename=None if filename is None else filename.decode("utf-8", "replace"),
                _body=self,
            )
        )

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])
