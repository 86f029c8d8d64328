"""Functions with a gradient that is written out, for plain calls and for `torch.compile`.

The compiler takes an operator of torch as one node of its graph. A plain call of an operator would import the compiler:
more than a hundred megabytes, beside which the memory of most losses is small. So plain calls take another way to the
same functions.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Keep = Callable[[Any, tuple[Any, ...], Any], None]
"""Keeps what the gradient needs, in a context: called with the context, the inputs and the output."""


class Operator:
    """A function of tensors, with its gradient.

    Args:
        name: Of the operator in torch, `kdtrain::<name>`.
        function: The function; it changes none of its arguments.
        fake: Makes an empty output, for the compiler.
        keep: As `Keep`.
        slopes: The gradients of the first input, as an operator without a gradient of its own: called with the gradient
            of the (first) output and the kept context.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        fake: Callable[..., Any],
        keep: Keep | None = None,
        slopes: Callable[[Any, Tensor, bool], Tensor] | None = None,
    ) -> None:
        self._function = function
        self._operator = torch.library.custom_op(f"kdtrain::{name}", function, mutates_args=())
        self._operator.register_fake(fake)
        self._plain: type[torch.autograd.Function] | None = None
        if keep is not None and slopes is not None:
            self._add_gradient(keep, slopes)

    def __call__(self, *inputs: Any, compiled: bool | None = None) -> Any:
        """Call the function; `compiled` says whether the compiler looks on, if that is known."""
        if torch.compiler.is_compiling() if compiled is None else compiled:
            return self._operator(*inputs)
        return self._function(*inputs) if self._plain is None else self._plain.apply(*inputs)

    def _add_gradient(self, keep: Keep, slopes: Callable[[Any, Tensor, bool], Tensor]) -> None:
        function = self._function

        class Plain(torch.autograd.Function):
            @staticmethod
            def forward(*inputs: Any) -> Any:
                return function(*inputs)

            @staticmethod
            def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
                ctx.count = len(inputs)
                keep(ctx, inputs, output)

            @staticmethod
            @once_differentiable
            def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
                return slopes(ctx, outer[0], False), *(None,) * (ctx.count - 1)

        def keep_all(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            ctx.count = len(inputs)
            keep(ctx, inputs, output)

        def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
            return slopes(ctx, outer[0], True), *(None,) * (ctx.count - 1)

        self._plain = Plain
        self._operator.register_autograd(backward, setup_context=keep_all)
