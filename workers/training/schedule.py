"""The learning rate of a step: a pure function, so that there is no scheduler to save."""


def learning_rate(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """Of the step that is done as number `step`, from 0: rises to `peak` over `warmup_steps`, then falls in a
    straight line that would reach zero right after the last step."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (total_steps - step) / max(1, total_steps - warmup_steps)
