"""Several processes, one for each GPU (or CPU), started by torchrun: each computes gradients on its share of a batch.

Gradients are averaged here and not by ``DistributedDataParallel``: in a step of the part networks a process may have no usable
crop for a group, and every process must still take part in the average.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from h2k_rt.errors import TrainingError


@dataclass(frozen=True)
class World:
    """The processes of a training.

    Attributes:
        rank: number of this process; size: how many there are.
        device: this process's device.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and tells of progress."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """The leading process's number, in all of them."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def average(self, nets: Sequence[nn.Module], touched: Sequence[bool]) -> list[bool]:
        """Average gradients and batch-norm statistics of networks over all processes.

        Args:
            touched: whether this process has gradients for each of ``nets``; one without counts as zeros.

        Returns:
            For each network whether any process has gradients; the others' are left alone.
        """
        if self.size == 1:
            return list(touched)
        flags = torch.tensor(list(touched), dtype=torch.float32, device=self.device)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        anywhere = [bool(flag) for flag in flags.tolist()]
        for net, wanted in zip(nets, anywhere, strict=True):
            if wanted:
                parameters = [p for p in net.parameters() if p.requires_grad]
                for parameter in parameters:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                self._mean([p.grad for p in parameters if p.grad is not None])
                self._mean([b for b in net.buffers() if b.is_floating_point()])
        return anywhere

    @torch.no_grad()
    def _mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their mean over all processes, in one message."""
        tensors = list(tensors)
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, value in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(value.view(tensor.shape))


def join(device: str) -> World:
    """Join the other processes, if torchrun started this one; otherwise a world of one.

    Args:
        device: "cpu", "cuda" (with torchrun: the GPU of this process's local rank), "cuda:1", ...

    Raises:
        TrainingError: there is no such device.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if size > 1 and device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"there is no device {device!r} here: {str(error).splitlines()[0]}") from error
    if size > 1 and not dist.is_initialized():
        if found.type == "cuda":
            torch.cuda.set_device(found)
        dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    return World(rank, size, found)


def leave() -> None:
    """End the group of processes, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
