"""Objects in any S3-compatible server. The one file that knows boto3, buckets and multipart."""

import hashlib
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

# boto3 carries no types: its answers are dictionaries, which the functions below take apart.
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from orchestrator.settings import S3Settings
from orchestrator.storage.keys import check_key, check_prefix
from orchestrator.storage.parts import in_flight, in_parts
from orchestrator.storage.store import Listed, ObjectMissing, Stored, StoreUnavailable
from orchestrator.storage.threads import in_thread

PART_BYTES = 8 << 20  # S3 wants 5 MiB or more, R2 wants all but the last of one size
READ_BYTES = 1 << 20
IN_FLIGHT = 4  # parts of one object under way at a time: with the next two in the making, 48 MiB
PAGE_OBJECTS = 1000  # S3's own bound for one listing and for one delete
CONNECTIONS = 32
CONNECT_SECONDS = 5
READ_SECONDS = 60
ATTEMPTS = 5  # botocore's standard mode, with backoff; nothing above it but a job tries again

_PROOFS = ("ETag", "ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA256")

Result = TypeVar("Result")


class S3Store:
    """An ObjectStore in `bucket`, under `prefix` (empty, or without slashes around it)."""

    def __init__(self, bucket: str, prefix: str, settings: S3Settings) -> None:
        self._bucket = bucket
        self._prefix = check_key(prefix) + "/" if prefix else ""
        self._settings = settings
        self._client = _client(settings, settings.endpoint_url)
        self._public_client = None
        if settings.public_endpoint_url is not None:
            self._public_client = _client(settings, settings.public_endpoint_url)
        elif settings.endpoint_url is None:  # AWS, which customers reach as we do
            self._public_client = self._client

    def make_bucket_if_missing(self) -> None:
        """Blocks. Raises StoreUnavailable if there is no such bucket and we may not make it."""
        try:
            if not self._bucket_is_missing():
                return
            location = {}
            if self._settings.region != "us-east-1":  # S3's default must not be spelled out
                region = {"LocationConstraint": self._settings.region}
                location = {"CreateBucketConfiguration": region}
            self._client.create_bucket(Bucket=self._bucket, **location)
        except (BotoCoreError, ClientError) as error:
            if _code(error) != "BucketAlreadyOwnedByYou":  # another process was quicker
                raise _unavailable(error) from error

    async def put_stream(
        self, key: str, chunks: AsyncIterator[bytes], *, content_type: str = "application/jsonl"
    ) -> Stored:
        target = self._object(key)
        digest = hashlib.sha256()
        parts = in_parts(chunks, PART_BYTES)
        part = await anext(parts, b"")
        size = len(part)
        if size < PART_BYTES:
            await in_thread(digest.update, part)
            put = partial(self._client.put_object, **target, ContentType=content_type, Body=part)
            await _call(put)
            return Stored(size=size, sha256=digest.hexdigest())
        upload = _MultipartUpload(self._client, target)
        try:
            await _call(partial(upload.begin, content_type))
            async with in_flight(IN_FLIGHT, _call) as add:
                for number in itertools.count(1):
                    await add(partial(upload.send, number, part))
                    await in_thread(digest.update, part)  # 17 ms: not on the loop
                    part = await anext(parts, b"")
                    if not part:
                        break
                    size += len(part)
            await _call(upload.complete)
        except BaseException:
            await in_thread(upload.abort)
            raise
        return Stored(size=size, sha256=digest.hexdigest())

    async def put(self, key: str, data: bytes, *, content_type: str = "application/jsonl") -> Stored:
        async def chunks() -> AsyncIterator[bytes]:
            yield data

        return await self.put_stream(key, chunks(), content_type=content_type)

    async def get_stream(self, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        if start < 0:
            raise ValueError(f"expected a start of 0 or more, found {start}")
        response = await _call(partial(self._get, key, start, end))
        if response is None:
            return
        body = response["Body"]
        try:
            while block := await _call(partial(body.read, READ_BYTES)):
                yield block
        finally:
            body.close()

    async def get(self, key: str, *, size_max: int) -> bytes:
        return await _call(partial(self._read, key, size_max))

    async def size(self, key: str) -> int | None:
        return await _call(partial(self._size, key))

    async def delete(self, keys: Iterable[str]) -> None:
        objects = iter([{"Key": self._object(key)["Key"]} for key in keys])
        while page := list(itertools.islice(objects, PAGE_OBJECTS)):
            await _call(partial(self._remove, page))

    async def list(self, prefix: str) -> AsyncIterator[Listed]:
        pages = self._pages("list_objects_v2", self._prefix + check_prefix(prefix))
        while page := await _call(partial(next, pages, None)):
            for found in page.get("Contents", ()):
                yield Listed(
                    key=found["Key"].removeprefix(self._prefix),
                    size=found["Size"],
                    modified_at=found["LastModified"],
                )

    @asynccontextmanager
    async def local_copy(self, key: str, folder: Path) -> AsyncIterator[Path]:
        size = await self.size(key)
        if size is None:
            raise ObjectMissing(key)
        copy = await in_thread(_new_file, folder)
        try:
            async with in_flight(IN_FLIGHT, _call) as add:
                for start in range(0, size, PART_BYTES):
                    await add(partial(self._download, key, start, copy))
            yield copy
        finally:
            await in_thread(copy.unlink)

    async def presign_get(self, key: str, *, filename: str, seconds: int) -> str | None:
        what = self._object(key)
        if self._public_client is None:
            return None
        disposition = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        what["ResponseContentDisposition"] = disposition
        presign = self._public_client.generate_presigned_url
        url: str = await _call(partial(presign, "get_object", Params=what, ExpiresIn=seconds))
        return url

    async def sweep(self, *, older_than: datetime) -> int:
        return await _call(partial(self._sweep, older_than))

    # Everything below blocks and runs in a thread.

    def _object(self, key: str) -> dict[str, Any]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    def _bucket_is_missing(self) -> bool:
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if _code(error) == "403":
                return False  # it is there; these credentials may use its objects and no more
            if _code(error) == "404":
                return True
            raise
        return False

    def _get(self, key: str, start: int, end: int | None) -> Any:
        """S3's response, its body not yet read, or None where the range holds no byte."""
        what = self._object(key)
        if end is not None and end <= start:
            if self._size(key) is None:
                raise ObjectMissing(key)
            return None
        if start or end is not None:
            what["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        try:
            return self._client.get_object(**what)
        except ClientError as error:
            if _code(error) == "NoSuchKey":
                raise ObjectMissing(key) from None
            if _code(error) == "InvalidRange":
                return None
            raise

    def _read(self, key: str, size_max: int) -> bytes:
        response = self._get(key, 0, None)
        with closing(response["Body"]) as body:
            size = response["ContentLength"]
            if size > size_max:
                raise ValueError(f"expected at most {size_max} bytes under {key}, found {size}")
            data: bytes = body.read()
            return data

    def _download(self, key: str, start: int, copy: Path) -> None:
        """Bring one part of the object into the same place of `copy`."""
        response = self._get(key, start, start + PART_BYTES)
        with closing(response["Body"]) as body, copy.open("r+b") as file:
            file.seek(start)
            for block in body.iter_chunks(READ_BYTES):
                file.write(block)

    def _size(self, key: str) -> int | None:
        try:
            size: int = self._client.head_object(**self._object(key))["ContentLength"]
        except ClientError as error:
            if _code(error) == "404":
                return None
            raise
        return size

    def _remove(self, objects: Sequence[dict[str, str]]) -> None:
        wanted = {"Objects": objects, "Quiet": True}
        errors = self._client.delete_objects(Bucket=self._bucket, Delete=wanted).get("Errors")
        if errors:
            raise StoreUnavailable(
                f"The object store kept {len(errors)} of {len(objects)} objects that it was to "
                f"delete ({errors[0].get('Code')})."
            )

    def _sweep(self, older_than: datetime) -> int:
        swept = 0
        for page in self._pages("list_multipart_uploads", self._prefix):
            for found in page.get("Uploads", ()):
                if found["Initiated"] < older_than:
                    target = {"Bucket": self._bucket, "Key": found["Key"]}
                    _MultipartUpload(self._client, target, found["UploadId"]).abort()
                    swept += 1
        return swept

    def _pages(self, operation: str, prefix: str) -> Iterator[dict[str, Any]]:
        paginator = self._client.get_paginator(operation)
        pages = paginator.paginate(
            Bucket=self._bucket, Prefix=prefix, PaginationConfig={"PageSize": PAGE_OBJECTS}
        )
        return iter(pages)


class _MultipartUpload:
    """An object on its way in parts, invisible until it is complete. Its methods block."""

    def __init__(self, client: Any, target: dict[str, Any], upload_id: str | None = None) -> None:
        self._client = client
        self._target = target
        self._id = upload_id
        self._sent: dict[int, dict[str, Any]] = {}

    def begin(self, content_type: str) -> None:
        begun = self._client.create_multipart_upload(**self._target, ContentType=content_type)
        self._id = begun["UploadId"]

    def send(self, number: int, part: bytes) -> None:
        answer = self._client.upload_part(**self._target, UploadId=self._id, PartNumber=number, Body=part)
        proof = {name: answer[name] for name in _PROOFS if name in answer}
        self._sent[number] = {"PartNumber": number, **proof}

    def complete(self) -> None:
        parts = {"Parts": [self._sent[number] for number in sorted(self._sent)]}
        self._client.complete_multipart_upload(**self._target, UploadId=self._id, MultipartUpload=parts)

    def abort(self) -> None:
        if self._id is None:
            return
        try:
            self._client.abort_multipart_upload(**self._target, UploadId=self._id)
        except (BotoCoreError, ClientError):
            pass  # what made us abort matters more; `sweep` finds what is left


def _client(settings: S3Settings, endpoint_url: str | None) -> Any:
    secret = settings.secret_access_key
    return _session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=settings.region,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(
            signature_version="s3v4",  # said aloud: boto3 would presign in the old way otherwise
            s3={"addressing_style": settings.addressing_style},
            request_checksum_calculation=settings.checksums,
            response_checksum_validation=settings.checksums,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=CONNECTIONS,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
        ),
    )


@cache
def _session() -> Any:
    """One for the process: reading S3's description takes it 0.2 s."""
    return Session()


async def _call(function: Callable[[], Result]) -> Result:
    try:
        return await in_thread(function)
    except (BotoCoreError, ClientError) as error:
        raise _unavailable(error) from error


def _new_file(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    return Path(name)


def _code(error: BotoCoreError | ClientError) -> str | None:
    if isinstance(error, ClientError):
        code: str | None = error.response.get("Error", {}).get("Code")
        return code
    return None


def _unavailable(error: BotoCoreError | ClientError) -> StoreUnavailable:
    what = type(error).__name__
    if isinstance(error, ClientError):
        what = f"{error.operation_name}: {_code(error)}"
    return StoreUnavailable(f"The object store did not do what it was asked ({what}).")
