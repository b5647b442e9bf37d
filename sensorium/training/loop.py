"""The loop. It stands here in the order in which things happen."""

from __future__ import annotations

import math
import os
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from torch import nn
from tqdm import tqdm

from sensorium import inference
from sensorium.errors import InputError, Refused, SensoriumError
from sensorium.runs import Run
from sensorium.training import checkpoints
from sensorium.training.nets import TorchNets
from sensorium.training.plan import Plan

CHECKPOINT_SECONDS = 60.0
SKIPS_IN_A_ROW = 20
VALIDATION_SHARE = 0.1  # of the time, when a budget is given


class Stopped(SensoriumError):
    """Training was asked to stop; a checkpoint is on the disk."""

    status = 130


@dataclass
class State:
    """Where training stands. All of it is in every checkpoint, so that going on is exact."""

    step: int = 0  # optimizer steps done
    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    length: float = 0.0  # epochs that training will take
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    worse: int = 0  # validations since the best one
    skipped: int = 0  # steps left out because a value was not finite


def fit(
    recipe: ModuleType,
    plan: Plan,
    network: nn.Module,
    train: Sequence[Any],
    val: Sequence[Any],
    run: Run,
    *,
    seed: int = 0,
    device: str = "auto",
    budget: float | None = None,
    reserve: float = 0.0,
    workers: int = 1,
    resume: bool = False,
    note: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> nn.Module:
    """Train a network as the plan says and return it with the best weights that validation saw.

    Args:
        recipe: module with `batch`, `loss`, `sample`, and perhaps `batches` and `optimizer`.
        train, val: examples.
        budget: seconds that this may take, None for all the plan's epochs.
        reserve: seconds of the budget that are kept for what comes after.
        workers: threads that make batches; the result does not depend on their number.
        resume: go on from the newest whole checkpoint in the run folder.

    Raises:
        Refused: values that are not finite kept coming.
        Stopped: SIGTERM or SIGINT arrived; a checkpoint was written.
    """
    world = World()
    # An untrained network may take far longer to answer than a trained one: the first validation will tell.
    reserve = min(reserve, 0.2 * budget) if budget else 0.0
    target = choose_device(device)
    network = network.to(target)
    if plan.channels_last:
        network = network.to(memory_format=torch.channels_last)
    world.share(network)
    own = getattr(recipe, "optimizer", lambda plan, network: None)(plan, network)
    optimizer = own or torch.optim.AdamW(
        groups(network, plan.weight_decay), lr=plan.learning_rate, fused=target.type != "mps"
    )
    average = Average(network, plan.average)
    state = State(length=float(plan.epochs))
    root = run.path / "checkpoints"

    if resume and (found := checkpoints.newest(root)) is not None:
        tensors, stored = found
        restore(network, optimizer, average, tensors)
        state = State(**stored)
        note(f"going on from step {state.step}, epoch {state.epoch + 1}")
    if world.leader:
        run.start_log(state.step)
    board = Board(run, state.step) if world.leader else None

    def save(reason: str = "") -> None:
        if not world.leader:
            return
        run.sync_log()
        try:
            checkpoints.save_step(root, state.step, gather(network, optimizer, average), asdict(state))
        except SensoriumError as error:  # a full disk or a bad value must not end a long run
            note(f"checkpoint{reason} {error}")

    started = time.monotonic() - state.seconds
    saved = time.monotonic()
    durations: deque[float] = deque(maxlen=50)
    validation_seconds: list[float] = []
    skips_in_a_row = 0
    amp = torch.autocast(target.type, torch.bfloat16, enabled=plan.autocast and has_bfloat16(target))
    bar = tqdm(total=100, unit="%", disable=not world.leader or not sys.stderr.isatty(), bar_format=BAR)

    with reproducible(target.type == "cpu"), stop_signals() as asked_to_stop:
        while state.epoch + 1e-9 < state.length:
            batches = epoch_batches(recipe, plan, train, seed, state.epoch)
            steps = math.ceil(len(batches) / plan.accumulate)
            jobs = batches[state.batch :]
            first = state.batch

            def make(job: tuple[int, list[int]], epoch: int = state.epoch) -> dict[str, torch.Tensor]:
                number, indices = job
                rng = np.random.default_rng([seed, epoch, number, world.rank])
                return tensors_of(recipe.batch(plan, [train[i] for i in world.shard(indices)], rng), plan)

            network.train()
            feeding = feed(make, list(enumerate(jobs, first)), workers)
            finished = False
            for number, batch in enumerate(feeding, first):
                tick = time.monotonic()
                progress = (state.epoch + number / len(batches)) / state.length
                rate = plan.learning_rate * schedule(progress, plan.warmup)
                for group in optimizer.param_groups:
                    group["lr"] = rate

                # Every random number follows from the seed and the place in training, so going on is exact.
                torch.manual_seed(hash_of(seed, state.epoch, number, world.rank))
                batch = {k: v.to(target) for k, v in batch.items()}
                with amp:
                    losses = recipe.loss(network, batch)
                losses = losses if isinstance(losses, dict) else {"loss": losses}
                loss = losses["loss"]
                count = min(plan.accumulate, len(batches) - number // plan.accumulate * plan.accumulate)
                (loss / count).backward()
                state.batch = number + 1
                if (number + 1) % plan.accumulate and number + 1 < len(batches):
                    continue

                stop, finite = world.reduce(network, bool(asked_to_stop), math.isfinite(float(loss.detach())))
                norm = nn.utils.clip_grad_norm_(network.parameters(), plan.clip or math.inf)
                finite = finite and bool(torch.isfinite(norm))
                if finite:
                    optimizer.step()
                    average.update()
                    skips_in_a_row = 0
                else:
                    state.skipped += 1
                    skips_in_a_row += 1
                    where = culprit(recipe, network, batch, amp)
                    note(f"step {state.step + 1}: a value is not finite, first in {where}; the step is left out")
                    if world.leader:
                        run.log(step=state.step + 1, event="not finite", where=where)
                optimizer.zero_grad(set_to_none=True)
                state.step += 1
                durations.append(time.monotonic() - tick)
                state.seconds = time.monotonic() - started
                if world.leader and finite:
                    shown = {k: round(float(v.detach()), 6) for k, v in losses.items()}
                    run.log(
                        step=state.step, epoch=state.epoch, **shown, learning_rate=rate, seconds=round(state.seconds, 2)
                    )
                    board.scalars("train", shown | {"learning_rate": rate}, state.step)
                    bar.n = round(100 * progress, 1)
                    bar.set_postfix_str(f"epoch {state.epoch + 1}/{math.ceil(state.length)} loss {shown['loss']:.4f}")
                if skips_in_a_row >= SKIPS_IN_A_ROW:
                    raise Refused(
                        f"{skips_in_a_row} steps in a row gave values that are not finite, first in {where}; "
                        "lower the learning rate (--set learning_rate=...) or look at the data"
                    )
                if budget is not None and state.epoch == 0 and number + 1 in (4, 8, 16, 32, 64, 128, 256, 512, 1024):
                    left = 0.96 * budget - reserve
                    state.length = affordable(plan, state, left, durations, validation_seconds, steps, number + 1)
                if stop:
                    save()
                    raise Stopped(f"stopped at step {state.step}; go on with --resume")
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save()
                    saved = time.monotonic()
                if (state.epoch + (number + 1) / len(batches)) >= state.length:
                    finished = True
                    break
            feeding.close()
            state.epoch, state.batch = state.epoch + 1, 0
            last = finished or state.epoch + 1e-9 >= state.length
            affords = budget is None or sum(validation_seconds) <= VALIDATION_SHARE * state.seconds
            if val and (last or affords):
                tick = time.monotonic()
                improved = validate(recipe, plan, network, average, val, run, board, state, seed, world)
                validation_seconds.append(time.monotonic() - tick)
                if world.leader and not sys.stderr.isatty():  # where there is no bar
                    best = (
                        "no finite value yet"
                        if state.best is None
                        else f"best {state.best:.4f} at step {state.best_step}"
                    )
                    note(f"epoch {state.epoch} of {math.ceil(state.length)}, {state.seconds:.0f} s: {best}")
                if improved and world.leader:
                    with average.applied(network):
                        checkpoints.save(root / checkpoints.BEST, weights(network), asdict(state))
            state.seconds = time.monotonic() - started
            if budget is not None and not last:
                if validation_seconds and plan.monitor == "metric":
                    reserve = min(reserve, 10 + 2.2 * validation_seconds[-1])
                state.length = affordable(plan, state, 0.96 * budget - reserve, durations, validation_seconds, steps)
            if plan.patience is not None and state.worse > plan.patience:
                note(f"no better for {state.worse} validations: stopping early")
                state.length = float(state.epoch)
            save()
            saved = time.monotonic()
            world.barrier()
            if last:
                break
    bar.close()
    if board is not None:
        board.close()
    if val and state.best is not None and (root / checkpoints.BEST).is_dir():
        tensors, _ = checkpoints.load(root / checkpoints.BEST)
        network.load_state_dict({k: v.to(target) for k, v in tensors.items()})
    else:
        average.copy_to(network)
    return network.eval()


BAR = "{l_bar}{bar}| {elapsed}<{remaining} {postfix}"


def affordable(
    plan: Plan,
    state: State,
    budget: float,
    durations: Sequence[float],
    validations: Sequence[float],
    steps: int,
    done: int = 0,
) -> float:
    """Epochs (perhaps a fraction of one) that end within the budget, at most as many as the plan has."""
    now = state.epoch + done / (steps * plan.accumulate)
    per_epoch = statistics.median(durations) * steps
    last_validation = max(validations, default=0.0)
    share = 1 + (VALIDATION_SHARE if validations else 0.05)
    left = budget - last_validation - state.seconds
    return float(max(min(plan.epochs, now + max(left, 0.0) / (per_epoch * share)), now + 1e-6))


def validate(
    recipe: ModuleType,
    plan: Plan,
    network: nn.Module,
    average: Average,
    val: Sequence[Any],
    run: Run,
    board: Board | None,
    state: State,
    seed: int,
    world: World,
) -> bool:
    """Measure the averaged weights on the validation examples; whether they are the best so far.

    A metric that is not finite never wins and never stays in the way of a later one.
    """
    value = math.nan
    lower = plan.monitor == "loss" or plan.task.lower_is_better
    if world.leader:
        network.eval()
        with average.applied(network):
            values = {}
            if plan.monitor == "metric":
                nets = TorchNets(recipe.sample(plan, network))
                found = inference.evaluate(plan.task, nets, val, split="val", resamples=0, keep=False)
                values = {name: entry["value"] for name, entry in found.metrics.items()}
            values["loss"] = validation_loss(recipe, plan, network, val, seed)
        value = values[plan.task.metric if plan.monitor == "metric" else "loss"]
        finite = {k: v for k, v in values.items() if math.isfinite(v)}
        run.log(step=state.step, epoch=state.epoch, validation=finite)
        if board is not None:
            board.scalars("validation", finite, state.step)
    value = world.broadcast(value)
    better = math.isfinite(value) and (state.best is None or (value < state.best if lower else value > state.best))
    if better:
        state.best, state.best_step, state.worse = value, state.step, 0
    else:
        state.worse += 1
    return better


def validation_loss(recipe: ModuleType, plan: Plan, network: nn.Module, val: Sequence[Any], seed: int) -> float:
    """Mean loss over the validation examples, without augmentation."""
    device = next(network.parameters()).device
    total, count = 0.0, 0
    for start in range(0, len(val), plan.batch_size):
        chunk = list(val[start : start + plan.batch_size])
        torch.manual_seed(hash_of(seed, start))
        batch = {k: v.to(device) for k, v in tensors_of(recipe.batch(plan, chunk, None), plan).items()}
        with torch.no_grad():
            losses = recipe.loss(network, batch)
        total += float(losses["loss"] if isinstance(losses, dict) else losses) * len(chunk)
        count += len(chunk)
    return total / count


# The pieces, smallest last.


def epoch_batches(recipe: ModuleType, plan: Plan, train: Sequence[Any], seed: int, epoch: int) -> list[list[int]]:
    """Which examples go together in each batch of an epoch."""
    rng = np.random.default_rng([seed, epoch])
    if hasattr(recipe, "batches"):
        return [list(map(int, b)) for b in recipe.batches(plan, train, rng)]
    order = rng.permutation(len(train))
    # Batches of equal size: a last batch of one or two examples disturbs the statistics of batch normalisation.
    return [list(map(int, b)) for b in np.array_split(order, max(1, round(len(order) / plan.batch_size)))]


def feed(make: Callable[[Any], Any], jobs: list[Any], workers: int) -> Iterator[Any]:
    """Results of `make` for each job in order, made ahead by threads."""
    if workers < 1:
        yield from map(make, jobs)
        return
    with ThreadPoolExecutor(workers, "batches") as pool:
        ahead: deque[Future[Any]] = deque()
        try:
            for job in jobs:
                ahead.append(pool.submit(make, job))
                if len(ahead) > 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def tensors_of(batch: dict[str, Any], plan: Plan) -> dict[str, torch.Tensor]:
    """A batch as tensors, pictures in the memory format that the plan asks for."""
    tensors = {
        k: v if isinstance(v, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(v)).reshape(np.shape(v))
        for k, v in batch.items()
    }
    if plan.channels_last:
        tensors = {k: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for k, v in tensors.items()}
    return tensors


def groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameters for the optimizer: matrices and kernels decay, biases and scales do not."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def schedule(progress: float, warmup: float) -> float:
    """Factor of the learning rate: a linear rise, then half a cosine down to a hundredth."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    done = (progress - warmup) / max(1e-9, 1 - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def hash_of(*numbers: int) -> int:
    """A seed that follows from the numbers given."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is quicker than float32 on this device."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        try:
            with open("/proc/cpuinfo") as info:
                return any("avx512_bf16" in line or "amx_bf16" in line for line in info)
        except OSError:
            return False
    return False


def choose_device(name: str) -> torch.device:
    """The device of this name; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise InputError(f"--device {name}: there is no such device here; --device auto takes what there is") from None
    return device


class Average:
    """Exponential moving average of the weights, with a start that forgets the random beginning."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.count = 0
        # Running statistics are averaged with the weights they belong to.
        buffers = [b for b in network.buffers() if b.is_floating_point()]
        self.source = [*(p for p in network.parameters() if p.requires_grad), *buffers]
        self.values = [p.detach().clone() for p in self.source] if decay else []

    @torch.no_grad()
    def update(self) -> None:
        if not self.decay:
            return
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.values, [p.detach() for p in self.source], 1 - decay)

    @torch.no_grad()
    def copy_to(self, network: nn.Module) -> None:
        for parameter, value in zip(self.source, self.values):
            parameter.copy_(value)

    @contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """The network with the averaged weights, for the time of the block."""
        kept = [p.detach().clone() for p in self.source] if self.values else []
        self.copy_to(network)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.source, kept):
                    parameter.copy_(value)


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name; tensors that are shared appear under each name."""
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def gather(network: nn.Module, optimizer: torch.optim.Optimizer, average: Average) -> dict[str, torch.Tensor]:
    """Everything that changes in training, as named tensors."""
    tensors = {f"network.{k}": v for k, v in weights(network).items()}
    tensors |= {f"average.{i}": v for i, v in enumerate(average.values)}
    tensors["average.count"] = torch.tensor(average.count)
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    return tensors


def restore(
    network: nn.Module, optimizer: torch.optim.Optimizer, average: Average, tensors: dict[str, torch.Tensor]
) -> None:
    """Put back what `gather` took.

    Raises:
        InputError: the checkpoint is of another network.
    """
    stored = {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
    try:
        network.load_state_dict(stored)
    except RuntimeError:
        raise InputError("the checkpoints in this folder are of another network; start anew in another --out") from None
    average.count = int(tensors["average.count"])
    for i, value in enumerate(average.values):
        value.copy_(tensors[f"average.{i}"])
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, slot = key.split(".", 2)
            slots.setdefault(int(index), {})[slot] = value
    full = optimizer.state_dict()
    optimizer.load_state_dict({"state": slots, "param_groups": full["param_groups"]})


def culprit(recipe: ModuleType, network: nn.Module, batch: dict[str, torch.Tensor], amp: torch.autocast) -> str:
    """The first module whose output, or else the first parameter whose gradient, is not finite."""
    for name, value in batch.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            return f"the input '{name}'"
    for name, parameter in network.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            return f"the weights '{name}'"
    found: list[str] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            values = (
                output.values()
                if isinstance(output, dict)
                else output
                if isinstance(output, (tuple, list))
                else [output]
            )
            for value in values:
                if (
                    isinstance(value, torch.Tensor)
                    and value.is_floating_point()
                    and not bool(torch.isfinite(value).all())
                ):
                    found.append(f"the layer '{name}' ({type(module).__name__})")

        return hook

    hooks = [m.register_forward_hook(watch(n)) for n, m in network.named_modules() if not list(m.children())]
    try:
        with torch.no_grad(), amp:
            recipe.loss(network, batch)
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return found[0]
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"the gradient of '{name}'"
    return "the loss"


@contextmanager
def reproducible(wanted: bool) -> Iterator[None]:
    """PyTorch computes the same in every run, where it can; afterwards it is set as it was."""
    filled = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = filled.fill_uninitialized_memory
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    filled.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        filled.fill_uninitialized_memory = fills


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Signals that ask to stop, collected instead of obeyed; a second one is obeyed at once."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def remember(number: int, frame: Any) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    before = {s: signal.signal(s, remember) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class World:
    """The processes that train together, as `torchrun` starts them; one alone needs none of it."""

    def __init__(self) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        self.leader = self.rank == 0
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")

    def shard(self, indices: list[int]) -> list[int]:
        """This process's part of a batch; never empty."""
        return indices[self.rank :: self.size] or indices[:1]

    def share(self, network: nn.Module) -> None:
        """Give every process the leader's weights."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def reduce(self, network: nn.Module, stop: bool, finite: bool) -> tuple[bool, bool]:
        """Average the gradients over the processes; whether any was asked to stop, and whether all are finite."""
        if self.size == 1:
            return stop, finite
        trained = [p for p in network.parameters() if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in trained if p.grad is not None]
        flags = gradients[0].new_tensor([float(stop), float(not finite)])
        flat = torch.cat([g.flatten() for g in gradients] + [flags])
        dist.all_reduce(flat)
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient) / self.size)
            start += gradient.numel()
        return bool(flat[-2] > 0), bool(flat[-1] == 0)

    def broadcast(self, value: float) -> float:
        """The leader's value, in every process."""
        if self.size > 1:
            tensor = torch.tensor(value, dtype=torch.float64)
            dist.broadcast(tensor, 0)
            value = float(tensor)
        return value

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


class Board:
    """TensorBoard event files of the run: the numbers of its log, and its pictures."""

    def __init__(self, run: Run, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=step + 1 if step else None)

    def scalars(self, group: str, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)

    def picture(self, path: Path) -> None:
        with Image.open(path) as picture:
            self.writer.add_image(path.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def close(self) -> None:
        self.writer.close()
