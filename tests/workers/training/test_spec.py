"""What passes between a flow and its trainer as JSON."""

from pathlib import Path

import msgspec
import pytest

from workers.training import reports, spec
from workers.training.spec import TrainingSpec


def example() -> TrainingSpec:
    return TrainingSpec(
        base="/models/base",
        base_id="base",
        train=Path("/scratch/train.tokens"),
        folder=Path("/scratch"),
        seed=1,
        n_epochs=2,
        batch_size=8,
        learning_rate=1e-4,
        warmup_steps=5,
        micro_tokens=2048,
    )


def test_a_spec_is_read_as_it_was_written() -> None:
    assert spec.decode(spec.encode(example())) == example()


def test_a_field_that_no_trainer_knows_is_refused() -> None:
    text = spec.encode(example()).replace(b'"seed"', b'"sead"')
    with pytest.raises(msgspec.ValidationError, match="sead"):
        spec.decode(text)


def test_a_report_is_read_as_it_was_written() -> None:
    report = reports.Failed("training_diverged", "Step 3 has loss nan.", 3)
    assert reports.decode(msgspec.json.encode(report)) == report
