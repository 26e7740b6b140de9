"""The encoder's layers as CUDA graphs: a training pass costs the host a replay a layer instead of some forty launches.

`N` frames that a graph holds, `B` its clips, `L` frames of the longest, `C` channels. A graph has one shape, so a row
ends in silent clips of no loss. Layers hand their states on where they lie; one that layer drop leaves out costs a
copy. What a graph computes is `models.fused_layers`, dropout included, which it draws anew each time.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unispeech_ft.data.row import Layout
from unispeech_ft.kernels.attention import position_bias
from unispeech_ft.models.adapters import has_adapters
from unispeech_ft.models.families import backbone, shares_position_bias
from unispeech_ft.models.fused_layers import copied, copies_of, fused_layer, refresh
from unispeech_ft.models.graph_rooms import Room

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class _Layer:
    """One layer's graphs and what lies where.

    Attributes:
        outputs: what it leaves, `[N, C]`: the residual stream and what the next multiplies, or one that is both.
        parameters: those of its own that have a gradient.
        for_inputs, for_parameters, for_norm, for_table: gradients, where the backward graph leaves them.
    """

    forward: torch.cuda.CUDAGraph
    outputs: tuple[Tensor, ...]
    backward: torch.cuda.CUDAGraph | None = None
    parameters: tuple[nn.Parameter, ...] = ()
    for_inputs: tuple[Tensor, ...] = ()
    for_parameters: tuple[Tensor, ...] = ()
    for_norm: tuple[Tensor, ...] = ()
    for_table: tuple[Tensor, ...] = ()


@contextlib.contextmanager
def _captured(memory: Any) -> Iterator[torch.cuda.CUDAGraph]:
    """A graph of what the block starts on the device. Other threads may go on: torch's own door would stop them."""
    graph = torch.cuda.CUDAGraph()
    graph.capture_begin(pool=memory, capture_error_mode="thread_local")
    try:
        yield graph
    except BaseException:
        with contextlib.suppress(RuntimeError):
            graph.capture_end()
        raise
    graph.capture_end()


class LayerGraphs:
    """The layers of one network for rows of one size.

    Attributes:
        waits: whether a pass went forward and not yet back; what it keeps is overwritten by the next.

    Args:
        network: on a CUDA device; in the mode, training or evaluation, that the graphs will have.
        trains: whether the encoder has a backward pass.
        memory: of the graphs of other rooms, which never run in the same pass.
        stream: to capture on, the same for all that share memory.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        room: Room,
        dtype: torch.dtype,
        memory: Any,
        stream: torch.cuda.Stream,
        *,
        trains: bool,
    ) -> None:
        encoder: Any = backbone(network).encoder
        self.room, self.trains, self.encoder, self.waits = room, trains, encoder, False
        self.norm_first = bool(network.config.do_stable_layer_norm)
        self.gated = shares_position_bias(network.config)
        device = encoder.layer_norm.weight.device
        self.copies = copies_of(encoder.layers, dtype)
        self.copied = copied(self.copies, encoder.layers)
        self.starts = torch.tensor(room.starts([room.longest]), dtype=torch.int32, device=device)
        nothing = torch.empty(0, device=device)
        lengths = (room.longest,) * room.clips
        self.layout = Layout(lengths, (), (), self.starts, nothing, nothing, nothing)
        hidden = torch.zeros(room.frames, network.config.hidden_size, dtype=dtype, device=device)
        self.inputs: tuple[Tensor, ...] = (hidden, hidden.clone()) if self.norm_first else (hidden,)
        self.outer = tuple(map(torch.zeros_like, self.inputs))
        self.table = self._leaf(self._table().detach().float().contiguous()) if self.gated else None
        norm = encoder.layer_norm
        self.norms = [tuple(self._leaf(values.clone()) for values in (norm.weight, norm.bias)) for _ in encoder.layers]
        with torch.random.fork_rng([device]), torch.cuda.stream(stream), torch.autocast("cuda", enabled=False):
            torch.cuda.synchronize(device)
            with torch.set_grad_enabled(trains):
                self.layers = self._recorded(memory)
            torch.cuda.synchronize(device)

    def _leaf(self, tensor: Tensor) -> Tensor:
        return tensor.detach().requires_grad_(self.trains)

    def _table(self) -> Tensor:
        return position_bias(self.encoder.layers[0].attention, self.room.longest)

    def _run(self, index: int, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        weight, bias = self.norms[index]
        norm = SimpleNamespace(weight=weight, bias=bias, eps=self.encoder.layer_norm.eps) if self.norm_first else None
        layer, copies = self.encoder.layers[index], self.copies[index]
        outputs = fused_layer(layer, copies, inputs[0], inputs[-1], self.layout, self.table, norm)
        return outputs[: len(inputs)]

    def _recorded(self, memory: Any) -> list[_Layer]:
        """Captures every layer forward, then every layer backward, in the order in which they will run."""
        given = tuple(map(self._leaf, self.inputs))
        outputs = self._run(0, given)  # compiles what a capture cannot
        if self.trains:
            self._gradients(0, given, outputs, tuple(map(torch.zeros_like, outputs)))
        del outputs
        graphs, entered, left = [], [], []
        inputs = self.inputs
        for index in range(len(self.encoder.layers)):
            entered.append(tuple(map(self._leaf, inputs)))
            with _captured(memory) as graph:
                inputs = self._run(index, entered[-1])
            graphs.append(graph)
            left.append(inputs)
        if not self.trains:
            return [_Layer(graph, outputs) for graph, outputs in zip(graphs, left, strict=True)]
        del inputs  # what a layer kept for its backward pass is free once that is captured
        layers: list[_Layer] = []
        outer = self.outer
        for index in reversed(range(len(graphs))):
            layers.append(self._recorded_backward(index, memory, graphs[index], entered[index], left.pop(), outer))
            outer = layers[-1].for_inputs
        return layers[::-1]

    def _gradients(
        self, index: int, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], outer: tuple[Tensor, ...]
    ) -> dict[str, Any]:
        """A layer's backward pass: what `_Layer` holds of it, by name."""
        parameters = [parameter for parameter in self.encoder.layers[index].parameters() if parameter.requires_grad]
        norm = self.norms[index] if self.norm_first else ()
        table = () if self.table is None else (self.table,)
        wanted = [*inputs, *norm, *table, *parameters]
        found = iter(torch.autograd.grad(outputs, wanted, outer, allow_unused=True))
        gradients: dict[str, Any] = {
            name: tuple(itertools.islice(found, len(of)))
            for name, of in (("for_inputs", inputs), ("for_norm", norm), ("for_table", table))
        }
        own = [pair for pair in zip(parameters, found, strict=True) if pair[1] is not None]
        gradients["parameters"] = tuple(parameter for parameter, _ in own)
        gradients["for_parameters"] = tuple(gradient for _, gradient in own)
        return gradients

    def _recorded_backward(
        self,
        index: int,
        memory: Any,
        forward: torch.cuda.CUDAGraph,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        outer: tuple[Tensor, ...],
    ) -> _Layer:
        with _captured(memory) as graph:
            gradients = self._gradients(index, inputs, outputs, outer)
        return _Layer(forward, tuple(output.detach() for output in outputs), graph, **gradients)

    def prepare(self, indices: Sequence[int], starts: Sequence[int]) -> list[nn.Parameter]:
        """Brings weights, norms and the places of the clips to where the graphs read them.

        Returns:
            The parameters whose gradients a pass through these layers gives.
        """
        self.starts.copy_(torch.tensor(starts, dtype=torch.int32).pin_memory(), non_blocking=True)
        refresh(*self.copied)
        own = [parameter for index in indices for parameter in self.layers[index].parameters]
        if not self.norm_first:
            return own
        following = [*(self.encoder.layers[index].layer_norm for index in indices[1:]), self.encoder.layer_norm]
        norms = [tensor for norm in following for tensor in (norm.weight, norm.bias)]
        with torch.no_grad():
            torch._foreach_copy_([tensor.detach() for index in indices for tensor in self.norms[index]], norms)
        return own + norms

    def __call__(self, hidden: Tensor, normed: Tensor, indices: Sequence[int], starts: Sequence[int]) -> Tensor:
        """What the encoder's layers make of a row, `[N, C]`.

        Args:
            hidden, normed: `[≤ N, C]`, what enters the first of them.
            indices: of the layers that run, at least one.
            starts: of the row's clips, from `Room.starts`.
        """
        parameters = self.prepare(indices, starts)
        table = self._table() if self.gated else None
        found: Tensor = _Replay.apply(self, indices, hidden, normed, table, *parameters)
        return found[: len(hidden)]


def _bring(places: Sequence[Tensor], states: Sequence[Tensor | None]) -> None:
    """Copies states to their places unless they lie there."""
    for place, state in zip(places, states, strict=True):
        if state is None:
            place.zero_()
        elif state.data_ptr() != place.data_ptr():
            place.copy_(state)


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        graphs: LayerGraphs,
        indices: Sequence[int],
        hidden: Tensor,
        normed: Tensor,
        table: Tensor | None,
        *parameters: nn.Parameter,
    ) -> Tensor:
        ctx.graphs, ctx.indices, ctx.frames = graphs, indices, len(hidden)
        ctx.set_materialize_grads(False)
        graphs.waits = graphs.trains
        if graphs.table is not None and table is not None:
            graphs.table.detach().copy_(table)
        for place, state in zip(graphs.inputs, (hidden, normed), strict=False):
            place[: len(state)].copy_(state)
            place[len(state) :].zero_()
        states: tuple[Tensor, ...] = graphs.inputs
        for index in indices:
            _bring(graphs.inputs if index == 0 else graphs.layers[index - 1].outputs, states)
            graphs.layers[index].forward.replay()
            states = graphs.layers[index].outputs
        return states[-1].detach()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Any, ...]:
        graphs, indices = ctx.graphs, ctx.indices
        graphs.waits = False
        layers = [graphs.layers[index] for index in indices]
        states: Sequence[Any] = (*(None for _ in graphs.inputs[1:]), outer[0])
        for index in reversed(indices):
            last = index == len(graphs.layers) - 1
            _bring(graphs.outer if last else graphs.layers[index + 1].for_inputs, states)
            graphs.layers[index].backward.replay()
            states = graphs.layers[index].for_inputs
        found = [gradient.detach() for layer in layers for gradient in layer.for_parameters]
        found += [gradient.detach() for layer in layers for gradient in layer.for_norm]
        for_table = None if graphs.table is None else torch.stack([layer.for_table[0] for layer in layers]).sum(0)
        for_hidden = states[0][: ctx.frames] if graphs.norm_first else None
        return None, None, for_hidden, states[-1][: ctx.frames], for_table, *found


class GraphStore:
    """The graphs of one network in one mode, made when they are first needed.

    Attributes:
        rooms: by size.
    """

    def __init__(self, rooms: tuple[Room, ...]) -> None:
        self.rooms = rooms
        self._kind: tuple[Any, ...] = ()
        self._made: dict[Room, LayerGraphs] = {}

    @property
    def waits(self) -> bool:
        """Whether a pass has yet to go back."""
        return any(graphs.waits for graphs in self._made.values())

    def graphs(self, network: Any, room: Room, dtype: torch.dtype) -> LayerGraphs | None:
        """Those of a room for what is to be done now; None, and no others from then on, where they cannot be made."""
        kind = dtype, torch.is_grad_enabled()
        if kind == self._kind:
            return self._made[room]
        try:
            self._make(network, dtype)
        except RuntimeError as error:  # out of memory, or what a capture cannot hold
            self.rooms = ()
            self._made.clear()
            reason = str(error).strip().splitlines()[0]
            warnings.warn(f"encoder layers run without CUDA graphs, which is slower ({reason})", stacklevel=2)
            return None
        self._kind = kind
        return self._made[room]

    def _make(self, network: Any, dtype: torch.dtype) -> None:
        self._made.clear()  # those of the frozen phase make room
        torch.cuda.empty_cache()  # a capture cannot give memory back
        memory, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(network.device)
        # They never run in the same pass: the smaller takes what the larger leaves free.
        for room in self.rooms[::-1]:
            trains = torch.is_grad_enabled()
            self._made[room] = LayerGraphs(network, room, dtype, memory, stream, trains=trains)


def give_rooms(network: Any, rooms: tuple[Room, ...], *, training: bool) -> None:
    """Has the passes of a network in one mode run as CUDA graphs from now on; without rooms frees those that it has.

    A graph reads weights where they lay when it was made; those with an adapter are computed anew for each pass.
    """
    rooms = () if has_adapters(network) else rooms
    stores = {**getattr(network, "layer_graphs", {})}
    held = stores.get(training)
    if not rooms:
        stores.pop(training, None)
    elif held is None or held.rooms != rooms:
        stores[training] = GraphStore(rooms)
    network.layer_graphs = stores


def graphs_for(
    network: Any, layout: Layout, indices: Sequence[int], dtype: torch.dtype
) -> tuple[LayerGraphs, list[int]] | None:
    """The graphs that can run a pass, and where its clips begin for them; None where there are none.

    A graph writes gradients where it left the last ones: it runs one pass an update, forward and back.
    """
    store: GraphStore | None = getattr(network, "layer_graphs", {}).get(network.training)
    gradient = backbone(network).encoder.layers[indices[0]].final_layer_norm.weight.grad
    if store is None or store.waits or (torch.is_grad_enabled() and gradient is not None):
        return None
    for room in store.rooms:
        starts = room.starts(layout.num_frames)
        graphs = None if starts is None else store.graphs(network, room, dtype)
        if graphs is not None and starts is not None:
            return graphs, starts
    return None
