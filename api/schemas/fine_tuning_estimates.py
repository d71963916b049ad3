"""What a fine-tuning job of these files would be: its problems, its numbers, its price, its memory."""

from typing import Any, Literal

import msgspec

from api.schemas.fine_tuning import JobError
from api.schemas.wire import Wire
from orchestrator.datasets.preparation import PreparedDataset
from orchestrator.fine_tuning.plan import Plan, Refusal


class FineTuningEstimate(Wire):
    """`trainable`: a job like this would be trained; otherwise `error` is what it would fail with. `problems`
    are the first 100, and the file `report_file` has all of them, one a line. `training`, `lora` and
    `estimate` are what the job would show, for the examples that can be learnt from; null where there are
    none."""

    object: Literal["fine_tuning.job.estimate"] = "fine_tuning.job.estimate"
    model: str
    trainable: bool
    error: JobError | None
    bad_examples: int
    problems: list[dict[str, Any]]
    report_file: str | None
    training: dict[str, Any] | None
    lora: dict[str, Any] | None
    estimate: dict[str, Any] | None

    @classmethod
    def of(
        cls,
        model: str,
        prepared: PreparedDataset,
        *,
        refusal: Refusal | None,
        planned: Plan | None,
        report_file: str | None,
    ) -> "FineTuningEstimate":
        """The outcome of reading a job's files without a job."""
        return cls(
            model=model,
            trainable=refusal is None,
            error=None if refusal is None else JobError.model_validate(refusal),
            bad_examples=prepared.bad_examples,
            problems=[msgspec.to_builtins(problem) for problem in prepared.first_problems],
            report_file=report_file,
            training=planned and planned.hyperparameters,
            lora=planned and planned.lora,
            estimate=planned and planned.estimate,
        )
