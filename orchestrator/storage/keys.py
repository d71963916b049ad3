"""Every key in the object store, spelled once. A person who looks into the bucket reads:

org_…/files/file-…/content            an uploaded file
org_…/uploads/upload_…/part_…         a part of an upload not yet completed
org_…/batches/batch_…/lines           where each line is, its model, prefix hashes and token counts
org_…/batches/batch_…/segments/0001-000007.tsv     results of attempt 1, in the order they came
org_…/batches/batch_…/output.jsonl    the merged results, in input order
org_…/batches/batch_…/error.jsonl     the lines without one, in input order
org_…/batches/batch_…/report.jsonl    every problem that validation found
org_…/batches/batch_…/unfinished      the numbers of the lines without a result, for a retry
org_…/fine_tuning/ftjob-…/train.tokens             a dataset as tokens, ready for a trainer
org_…/fine_tuning/ftjob-…/valid.tokens             its validation file, likewise
org_…/fine_tuning/ftjob-…/state-000120.pt          a trainer's state after step 120
org_…/fine_tuning/ftjob-…/metrics.csv              what it measured at every step
org_…/fine_tuning/ftjob-…/report.jsonl             every problem of its datasets
org_…/adapters/<sha256>/ft_…/adapter_model.safetensors  LoRA weights, under the digest of both files
org_…/adapters/<sha256>/ft_…/adapter_config.json        what PEFT and engines must know of them
org_…/adapters/<sha256>/ft_…/card.json                  how they were made
org_…/adapters/<sha256>/ft_…/README.md                  the same, for people
"""

import re
from typing import Literal

Result = Literal["output", "error", "report"]
Tokens = Literal["train", "valid"]
AdapterFile = Literal["adapter_model.safetensors", "adapter_config.json", "card.json", "README.md"]

# No segment begins with a dot: so there is no `..`, and no object can be called `.unfinished`.
_SEGMENT = "[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}"
_KEY = re.compile(f"{_SEGMENT}(/{_SEGMENT})*")
_PREFIX = re.compile(f"({_SEGMENT}/)*({_SEGMENT})?")
_LENGTH_MAX = 900  # S3 allows 1,024 bytes, the store's own prefix included


def file_content(organization_id: str, file_id: str) -> str:
    return f"{organization_id}/files/{file_id}/content"


def file_prefix(organization_id: str, file_id: str) -> str:
    return f"{organization_id}/files/{file_id}/"


def upload_part(organization_id: str, upload_id: str, part_id: str) -> str:
    return f"{organization_id}/uploads/{upload_id}/{part_id}"


def upload_prefix(organization_id: str, upload_id: str) -> str:
    return f"{organization_id}/uploads/{upload_id}/"


def segment(organization_id: str, batch_id: str, attempt: int, sequence: int) -> str:
    return f"{segment_prefix(organization_id, batch_id)}{attempt:04d}-{sequence:06d}.tsv"


def segment_prefix(organization_id: str, batch_id: str) -> str:
    return f"{organization_id}/batches/{batch_id}/segments/"


def batch_lines(organization_id: str, batch_id: str) -> str:
    return f"{organization_id}/batches/{batch_id}/lines"


def batch_unfinished(organization_id: str, batch_id: str) -> str:
    return f"{organization_id}/batches/{batch_id}/unfinished"


def batch_result(organization_id: str, batch_id: str, kind: Result) -> str:
    return f"{organization_id}/batches/{batch_id}/{kind}.jsonl"


def fine_tuning_tokens(organization_id: str, job_id: str, kind: Tokens) -> str:
    return f"{organization_id}/fine_tuning/{job_id}/{kind}.tokens"


def fine_tuning_state(organization_id: str, job_id: str, step: int) -> str:
    return f"{organization_id}/fine_tuning/{job_id}/state-{step:06d}.pt"


def fine_tuning_state_prefix(organization_id: str, job_id: str) -> str:
    return f"{organization_id}/fine_tuning/{job_id}/state-"


def fine_tuning_result(
    organization_id: str, job_id: str, name: Literal["metrics.csv", "report.jsonl"]
) -> str:
    return f"{organization_id}/fine_tuning/{job_id}/{name}"


def fine_tuning_prefix(organization_id: str, job_id: str) -> str:
    return f"{organization_id}/fine_tuning/{job_id}/"


def adapter_prefix(organization_id: str, digest: str, source: str) -> str:
    """`source` is the import, or the training's checkpoint. The same bytes that came twice are there twice:
    so those of one can be removed without a look at who may be bringing them again just now."""
    return f"{organization_id}/adapters/{digest}/{source}/"


def adapter_file(prefix: str, name: AdapterFile) -> str:
    return f"{prefix}{name}"


def check_key(key: str) -> str:
    """`key` itself, if it is fit for every store. Raises ValueError."""
    if len(key) > _LENGTH_MAX or not _KEY.fullmatch(key):
        raise ValueError(_refusal("key", key))
    return key


def check_prefix(prefix: str) -> str:
    """`prefix` itself, if keys can begin with it (with "" all of them do). Raises ValueError."""
    if len(prefix) > _LENGTH_MAX or not _PREFIX.fullmatch(prefix):
        raise ValueError(_refusal("prefix", prefix))
    return prefix


def _refusal(what: str, found: str) -> str:
    return (
        f"expected a {what} of at most {_LENGTH_MAX} characters, in segments of A-Z a-z 0-9 _ . - "
        f"that do not begin with a dot, joined by single slashes; found {found[:100]!r}"
    )
