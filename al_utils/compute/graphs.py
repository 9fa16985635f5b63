"""Steps of training on an NVIDIA GPU as CUDA graphs: recorded once, hundreds of kernels replayed as one.

Launching the kernels of a step one by one takes longer than most of them run. A graph holds them all, but also the places
in memory that they read and write: inputs are copied to where the recording found them, and what a step changes (weights,
momentum, BatchNorm's statistics) must stay where it is.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[..., Tensor]
WARM_UPS = 2  # steps before the recording, in which libraries choose kernels and allocate


class Replayed:
    """`step(*inputs)` as graphs, one for each combination of input shapes that it is called with.

    The tensor that a call returns holds its value until the next call.

    Args:
        step: takes tensors and returns one; it reads no value on the host.
        state: all tensors that it changes, each in place. They are as before after a recording.
        record: from a step without arguments to a function that repeats it, and to what it returned, see `cuda_graph`.
    """

    def __init__(self, step: Step, state: Sequence[Tensor], record: Callable | None = None):
        self._step, self._state, self._record = step, list(state), record or cuda_graph
        self._recorded: dict[tuple, tuple[list[Tensor], Callable[[], None], Tensor]] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self._recorded:
            self._recorded[shapes] = self._recording(inputs)
        places, replay, result = self._recorded[shapes]
        for place, given in zip(places, inputs):
            place.copy_(given)
        replay()
        return result

    def _recording(self, inputs):
        places = [given.clone() for given in inputs]
        before = [values.detach().clone() for values in self._state]  # a graph of gradients would tie them to this stream
        replay, result = self._record(lambda: self._step(*places))
        with torch.no_grad():
            for values, old in zip(self._state, before):
                values.copy_(old)
        return places, replay, result


def cuda_graph(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A function that repeats `step` as one launch, and the tensor that it writes to.

    A step that cannot be recorded, because it reads values on the host, is repeated as it is, with a warning.
    """
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UPS):
            result = step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.stream(torch.cuda.current_stream()):  # to which a failed recording does not come back itself
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                result = step()
    except RuntimeError as error:
        reason = str(error.__context__ or error).splitlines()[0]  # the first error; the end of a failed recording is another
        warnings.warn(f"a step of this network is no CUDA graph ({reason}): its kernels are launched one by one.", stacklevel=2)
        return _one_by_one(step, result.clone())
    return graph.replay, result


def _one_by_one(step: Callable[[], Tensor], result: Tensor) -> tuple[Callable[[], None], Tensor]:
    def repeat():
        result.copy_(step())

    return repeat, result
