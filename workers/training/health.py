"""When a training has gone wrong beyond repair."""

import math

from workers.training.position import Position

FIRST_STEPS = 10  # whose mean loss is the measure
EXPLODING_STEPS_MAX = 10  # in a row, before a training is given up
ADVICE = "Try a smaller learning_rate_multiplier or a larger batch_size, and look for broken examples."


class Diverged(Exception):
    """The loss will not come back; the message says at which step it went, and what to try."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(f"{message} {ADVICE}")
        self.step = step


def check(position: Position, step: int, loss: float, grad_norm: float) -> None:
    """Looks at a step before its gradients are applied, and keeps count in `position`. Raises Diverged."""
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise Diverged(f"Step {step} has loss {loss} and gradient norm {grad_norm}.", step)
    if len(position.first_losses) < FIRST_STEPS:
        position.first_losses.append(loss)
        return
    usual = sum(position.first_losses) / FIRST_STEPS
    bound = 2 * usual + 2  # nats; a model that guesses blindly among 150 000 tokens has 12
    position.exploding_steps = position.exploding_steps + 1 if loss > bound else 0
    if position.exploding_steps >= EXPLODING_STEPS_MAX:
        began = step - EXPLODING_STEPS_MAX + 1
        raise Diverged(
            f"The loss went from {usual:.2f} to {loss:.2f} and stays there since step {began}.", began
        )


def check_score(step: int, valid_loss: float) -> None:
    """Looks at an evaluation. Raises Diverged."""
    if not math.isfinite(valid_loss):
        raise Diverged(f"After step {step} the validation loss is {valid_loss}.", step)
