"""Which store this yard uses: `file:///folder`, `s3://bucket/prefix`, or a folder in its home."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.settings import Settings
from orchestrator.storage.local import LocalStore
from orchestrator.storage.s3 import S3Store
from orchestrator.storage.store import ObjectStore


def open_store(settings: Settings) -> ObjectStore:
    """The store that the settings name, ready for use: a missing folder or bucket is made. Blocks.

    Raises ValueError for an address that names no store, StoreUnavailable if it does not answer.
    """
    if settings.store_url is None:
        return LocalStore(settings.absolute_home() / "store")
    address = urlsplit(settings.store_url)
    path = unquote(address.path)
    if address.scheme == "file" and not address.netloc and path.startswith("/"):
        return LocalStore(Path(path))
    if address.scheme == "s3" and address.netloc:
        store = S3Store(address.netloc, path.strip("/"), settings.s3)
        store.make_bucket_if_missing()
        return store
    raise ValueError(
        "expected YARD_STORE_URL to be file:///an/absolute/folder or s3://bucket/prefix, "
        f"found {settings.store_url!r}"
    )
