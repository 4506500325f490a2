"""A slide in a multipart form, taken out while it comes: no temporary copy of it is made."""

from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidRequest, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

__all__ = ["SlideForm"]

MAX_FIELDS = 16
MAX_FIELD_BYTES = 1024
MAX_HEADER_BYTES = 8192


class SlideForm:
    """Fields first, then one file: `fields()`, then `file()`, each once.

    Raises InvalidRequest (no form, no file, a field after the file), TooLarge.
    """

    def __init__(
        self, content_type: str, chunks: AsyncIterable[bytes], *, limit_bytes: int
    ) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise InvalidRequest("the form's Content-Type has no boundary; let your client set it")
        self._chunks = aiter(chunks)
        self._limit, self._count = limit_bytes, 0
        self._part = _Part()
        self._fields: dict[str, bytearray] = {}
        self._ready: list[bytes] = []
        self._has_file = self._is_whole = False
        self._parser = _open_parser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._on_header_name,
                "on_header_value": self._on_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_content,
                "on_part_data": self._on_content,
                "on_end": self._on_end,
            },
        )

    async def fields(self) -> dict[str, str]:
        """All fields before the file, by name."""
        while not self._has_file and await self._read():
            pass
        if not self._has_file:
            raise InvalidRequest("the form has no file; send one: curl -F slide=@slide.svs")
        return {name: value.decode("utf-8", "replace") for name, value in self._fields.items()}

    async def file(self) -> AsyncIterator[bytes]:
        """The file's bytes as they come."""
        more = True
        while more:
            for piece in self._taken():
                yield piece
            more = await self._read()
        for piece in self._taken():
            yield piece
        if not self._is_whole:
            raise InvalidRequest("the form ended in the middle; send it again")

    def _taken(self) -> list[bytes]:
        taken, self._ready = self._ready, []
        return taken

    async def _read(self) -> bool:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            return False
        self._count += len(chunk)
        if self._count > self._limit:
            raise TooLarge(
                f"a form of more than {self._limit} bytes; send the file itself: curl -T slide.svs"
            )
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest("the form cannot be read; send the file itself") from error
        return True

    def _begin_part(self) -> None:
        self._part = _Part()

    def _on_header_name(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]
        self._part.require_small()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]
        self._part.require_small()

    def _end_header(self) -> None:
        self._part.end_header()

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._part.disposition)
        if self._has_file:
            raise InvalidRequest(
                "the form goes on after its file; send fields first, one file last"
            )
        if b"filename" in options:
            self._has_file = True
            return
        self._part.field = options.get(b"name", b"").decode("utf-8", "replace")
        self._fields[self._part.field] = bytearray()
        if len(self._fields) > MAX_FIELDS:
            raise InvalidRequest(f"the form has more than {MAX_FIELDS} fields")

    def _on_content(self, data: bytes, start: int, end: int) -> None:
        if self._part.field is None:
            self._ready.append(data[start:end])
            return
        value = self._fields[self._part.field]
        value += data[start:end]
        if len(value) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"a field of the form has more than {MAX_FIELD_BYTES} bytes")

    def _on_end(self) -> None:
        self._is_whole = True


def _open_parser(boundary: bytes, callbacks: "MultipartCallbacks") -> MultipartParser:
    try:
        return MultipartParser(boundary, callbacks)
    except FormParserError as error:
        raise InvalidRequest("the form's boundary is longer than forms have them") from error


class _Part:
    """The part that is being read."""

    def __init__(self) -> None:
        self.header_name = self.header_value = self.disposition = b""
        self.field: str | None = None

    def require_small(self) -> None:
        if len(self.header_name) + len(self.header_value) > MAX_HEADER_BYTES:
            raise InvalidRequest("a header in the form is too long")

    def end_header(self) -> None:
        if self.header_name.lower() == b"content-disposition":
            self.disposition = self.header_value
        self.header_name = self.header_value = b""
