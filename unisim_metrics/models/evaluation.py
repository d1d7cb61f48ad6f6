"""How a model is run: in evaluation mode, with frozen weights, in its own precision."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import nn

from unisim_metrics.images.threads import leave_threads_to_the_parent

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")


@dataclass
class _Use:
    """Who evaluates a module at the moment, and what it gets back when the last of them is done."""

    users: int = 0
    training: list[nn.Module] = field(default_factory=list)
    trained: list[nn.Parameter] = field(default_factory=list)


_uses: WeakKeyDictionary[nn.Module, _Use] = WeakKeyDictionary()
_lock = threading.Lock()


@contextmanager
def evaluation_mode(module: nn.Module, freeze: bool = False) -> Iterator[None]:
    """Put a module in evaluation mode; one that is shared with a training loop gets back what it had.

    Threads that evaluate one module at a time share the mode: the last one gives it back.

    Args:
        module: The module.
        freeze: Whether its weights shall require no gradients meanwhile.
    """
    with _lock:
        use = _uses.setdefault(module, _Use())
        use.users += 1
        training = [part for part in module.modules() if part.training]
        trained = [weight for weight in module.parameters() if weight.requires_grad] if freeze else []
        for part in training:
            part.training = False
        for weight in trained:
            weight.requires_grad_(False)
        use.training += training
        use.trained += trained
    try:
        yield
    finally:
        with _lock:
            use.users -= 1
            if not use.users:
                del _uses[module]
                for part in use.training:
                    part.training = True
                for weight in use.trained:
                    weight.requires_grad_(True)


@contextmanager
def own_precision() -> Iterator[None]:
    """Leave autocast: scores are those of the model's own weights, as the signature says."""
    leave_threads_to_the_parent()
    with ExitStack() as stack:
        for device in _AUTOCAST_DEVICES:
            # torch 2.4 has none for mps.
            if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
