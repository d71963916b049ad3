"""The training loop."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

import torch
from peft import PeftModel

from orchestrator.datasets.token_file import TokenFile
from workers.training import base, checkpoint, health, lora, reports
from workers.training.evaluation import evaluate
from workers.training.objective import OBJECTIVES, Objective, PackLoss
from workers.training.packing import Pack, epoch_order, packs, steps_per_epoch
from workers.training.position import Position
from workers.training.processes import Processes, join
from workers.training.schedule import learning_rate
from workers.training.spec import TrainingSpec

LIBRARIES = ("torch", "transformers", "peft")  # whose versions may change a result's last digits

Tell = Callable[[reports.Report], None]


@dataclass
class Training:
    """One training under way: what it was told, what it has learnt, how far it is."""

    spec: TrainingSpec
    objective: Objective
    train: TokenFile
    valid: TokenFile | None
    model: PeftModel
    learning: list[torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    position: Position
    identity: str
    processes: Processes

    @property
    def examples(self) -> int:
        return len(self.train) // self.objective.sequences_per_example

    @property
    def epoch_steps(self) -> int:
        return steps_per_epoch(self.examples, self.spec.batch_size)

    @property
    def total_steps(self) -> int:
        return self.spec.n_epochs * self.epoch_steps


def begin(spec: TrainingSpec) -> Training:
    """Loads the base, puts the adapter on it, and goes to where the checkpoint was, if one is given.

    Raises InvalidBaseModel, and ValueError where the checkpoint is of another training."""
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    processes = join()
    device = torch.device("cuda", processes.rank) if torch.cuda.is_available() else torch.device("cpu")
    frozen = base.load(spec, device)
    torch.manual_seed(spec.seed)
    model = lora.attach(frozen, spec.lora, base_id=spec.base_id)
    learning = list(lora.parameters(model).values())
    optimizer = torch.optim.AdamW(learning, lr=spec.learning_rate, weight_decay=0.0, fused=True)
    identity = checkpoint.identity(spec)
    position = Position()
    if spec.resume_from is not None:
        position = checkpoint.load(spec.resume_from, model, optimizer, identity=identity)
    valid = TokenFile(spec.valid) if spec.valid is not None else None
    train = TokenFile(spec.train)
    objective = OBJECTIVES[spec.method](spec)
    return Training(spec, objective, train, valid, model, learning, optimizer, position, identity, processes)


def run(training: Training, tell: Tell, stopping: Callable[[], bool]) -> None:
    """Trains to the end, or until `stopping`; the last checkpoint and the last report say which.

    Raises Diverged."""
    spec, position = training.spec, training.position
    tell(
        reports.Started(
            position.step,
            training.total_steps,
            training.epoch_steps,
            training.model.device.type,
            sum(each.numel() for each in training.learning),
            {name: version(name) for name in LIBRARIES},
        )
    )
    saved_at, saved_step = time.monotonic(), position.step  # which was given to us, or is the beginning
    while True:
        evaluate_if_due(training, tell, stopping)
        early = stops_early(training)
        if early or position.step == training.total_steps:
            save(training, "finished", tell)
            tell(reports.Finished(position.step, position.trained_tokens, early))
            return
        if stopping():
            save(training, "stopped", tell)
            tell(reports.Stopped(position.step, position.trained_tokens))
            return
        due = at_epoch_end(training) or time.monotonic() - saved_at > spec.checkpoint_every_seconds
        if due and position.step != saved_step:
            save(training, "epoch" if at_epoch_end(training) else "clock", tell)
            saved_at, saved_step = time.monotonic(), position.step
        tell(step(training))


def step(training: Training) -> reports.Step:
    """Takes the next step's examples, forward and back, and moves the adapter once."""
    began = time.monotonic()
    spec, position, objective = training.spec, training.position, training.objective
    examples = step_examples(training)
    weight = objective.weight(training.train, examples)
    rate = learning_rate(
        position.step,
        peak=spec.learning_rate,
        warmup_steps=spec.warmup_steps,
        total_steps=training.total_steps,
    )
    share = training.processes.share(packs(training.train, examples, spec.micro_tokens))
    losses = [backward(training, pack, weight) for pack in share]
    training.processes.sum_gradients(training.learning)
    norm = torch.nn.utils.clip_grad_norm_(training.learning, spec.max_grad_norm).item()
    total, right = training.processes.sums(
        sum(each.total.item() for each in losses), sum(each.right.item() for each in losses)
    )
    loss = total / weight
    health.check(position, position.step + 1, loss, norm)
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    position.step += 1
    position.trained_tokens += sum(
        int(training.train.lengths[number]) for each in examples for number in each
    )
    return reports.Step(
        step=position.step,
        epoch=position.step / training.epoch_steps,
        train_loss=loss,
        train_mean_token_accuracy=right / weight,
        learning_rate=rate,
        grad_norm=norm,
        trained_tokens=position.trained_tokens,
        seconds=time.monotonic() - began,
        peak_memory_bytes=peak_memory_bytes(),
    )


def backward(training: Training, pack: Pack, weight: int) -> PackLoss:
    """Adds the pack's share of the step's gradients to what is there."""
    if not training.model.training:  # after an evaluation
        training.model.train()
    loss = training.objective.loss(training.model, pack)
    (loss.total / weight).backward()
    return PackLoss(loss.total.detach(), loss.right)


def step_examples(training: Training) -> Sequence[Sequence[int]]:
    """The examples of the next step, each as the numbers of its sequences."""
    epoch, within = divmod(training.position.step, training.epoch_steps)
    order = epoch_order(training.spec.seed, epoch, training.examples)
    each, size = training.objective.sequences_per_example, training.spec.batch_size
    return [
        range(example * each, (example + 1) * each)
        for example in order[within * size : (within + 1) * size].tolist()
    ]


def evaluate_if_due(training: Training, tell: Tell, stopping: Callable[[], bool]) -> None:
    """Goes through the validation file after each epoch and every so many steps, once for each such step.

    Where it is stopped half-way, the next attempt begins with it."""
    spec, position = training.spec, training.position
    if training.valid is None or position.evaluated_step == position.step:
        return
    full, every = at_epoch_end(training), spec.evaluate_every_steps
    if not full and (every is None or position.step % every):
        return
    score = evaluate(
        training.model,
        training.objective,
        training.valid,
        micro_tokens=spec.micro_tokens,
        processes=training.processes,
        stopping=stopping,
    )
    if score is None:
        return
    health.check_score(position.step, score.loss)
    position.evaluated_step = position.step
    better = position.best_valid_loss is None or score.loss < position.best_valid_loss
    position.evaluations_without_better = 0 if better else position.evaluations_without_better + 1
    if better:
        position.best_valid_loss = score.loss
    tell(reports.Evaluation(position.step, score.loss, score.accuracy, full))


def stops_early(training: Training) -> bool:
    patience = training.spec.early_stopping_patience
    return patience is not None and training.position.evaluations_without_better >= patience


def at_epoch_end(training: Training) -> bool:
    return training.position.step > 0 and training.position.step % training.epoch_steps == 0


def save(training: Training, reason: Literal["epoch", "clock", "stopped", "finished"], tell: Tell) -> None:
    """Writes a checkpoint and says where it is; the first process does, for all."""
    if not training.processes.is_first:
        return
    position = training.position
    path = checkpoint.save(
        training.spec.folder / "checkpoints",
        training.model,
        training.optimizer,
        position,
        identity=training.identity,
    )
    tell(reports.Checkpoint(position.step, str(path), position.trained_tokens, reason))


def peak_memory_bytes() -> int:
    """The most that this process ever held: of the GPU's memory, or else of the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
