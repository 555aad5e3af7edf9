"""Follows a running pipeline from stage to stage by the calls of its components, as a prediction divides it. Touches the clock."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from workbench.cost.calllog import stage_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from torch import nn

    from workbench.measurement._monitor import Monitor
    from workbench.measurement._progress import AbstractProgress

ENTRY_POINTS: Final = ("encode", "decode")
"""Methods through which pipelines call an autoencoder, beside calling the module itself."""


class StageClock:
    """Adds up the seconds of each stage.

    A stage ends where the first call of another stage begins, so the stages add up to the whole; what comes before the first call
    counts to the first stage. The GPU is waited for at these borders only: waiting at every call would slow the run down.
    """

    def __init__(
        self, monitor: Monitor, progress: AbstractProgress, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: Counter[str] = Counter()
        self.stage: str | None = None
        """The stage that runs; None before the first call."""
        self._monitor = monitor
        self._progress = progress
        self._clock = clock
        self._started = self._since = self._now()
        self._ended: float | None = None

    @property
    def total_s(self) -> float:
        """From the start to the stop."""
        return (self._clock() if self._ended is None else self._ended) - self._started

    def called(self, component: str, call: str) -> None:
        """A component is called, `("vae", "AutoencoderKLWan.decode")`."""
        stage = stage_of(component, call)
        self.calls[stage] += 1
        self._progress.beat()
        if stage == self.stage:
            return
        now = self._now()
        if self.stage is not None:
            self._book(now)
        self.stage = stage
        self._monitor.enter(stage)
        self._progress.stage(stage)

    def stop(self) -> None:
        """The run is over."""
        self._ended = self._now()
        if self.stage is not None:
            self._book(self._ended)

    def _book(self, now: float) -> None:
        assert self.stage is not None
        self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self._since
        self._since = now

    def _now(self) -> float:
        self._monitor.probe.synchronize()
        return self._clock()


def components_of(pipe: DiffusionPipeline) -> dict[str, nn.Module]:
    """The neural networks of a pipeline by the pipeline's own names."""
    from torch import nn

    return {name: part for name, part in pipe.components.items() if isinstance(part, nn.Module)}


@contextmanager
def calls_reported(pipe: DiffusionPipeline, called: Callable[[str, str], None]) -> Iterator[None]:
    """Reports each call of a component just before it happens, while the context lasts."""
    with ExitStack() as stack:
        for name, component in components_of(pipe).items():
            stack.enter_context(_module_reported(component, name, called))
            for method in ENTRY_POINTS:
                if callable(getattr(type(component), method, None)):
                    stack.enter_context(_method_reported(component, method, name, called))
        yield


@contextmanager
def _module_reported(component: nn.Module, name: str, called: Callable[[str, str], None]) -> Iterator[None]:
    class_name = type(component).__name__
    # A hook of the module, not a new `forward`: offloading replaces `forward`, so fetching the weights is inside the stage.
    hook = component.register_forward_pre_hook(lambda *_: called(name, class_name))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _method_reported(
    component: nn.Module, method: str, name: str, called: Callable[[str, str], None]
) -> Iterator[None]:
    """Shadows the method on the instance; what shadowed it before, if anything, is put back."""
    bound = getattr(component, method)
    call = f"{type(component).__name__}.{method}"

    def reported(*args: Any, **kwargs: Any) -> Any:
        called(name, call)
        return bound(*args, **kwargs)

    before = vars(component).get(method)
    object.__setattr__(component, method, reported)
    try:
        yield
    finally:
        if before is None:
            object.__delattr__(component, method)
        else:
            object.__setattr__(component, method, before)
