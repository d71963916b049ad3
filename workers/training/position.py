"""How far a training is."""

from dataclasses import dataclass, field


@dataclass
class Position:
    """What a checkpoint says beside weights and random numbers. The order of examples and the learning rate
    follow from `step`."""

    step: int = 0  # steps done
    trained_tokens: int = 0
    evaluated_step: int = 0  # the last one after which the validation file was gone through
    best_valid_loss: float | None = None
    evaluations_without_better: int = 0
    first_losses: list[float] = field(default_factory=list)  # of the first steps, to know an explosion by
    exploding_steps: int = 0  # in a row, up to now
