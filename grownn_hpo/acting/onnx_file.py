"""A policy as an ONNX graph, written operator by operator: the networks consist of few kinds of layers.

`B` observations, `N` cells of a map that the network reads, `C` channels, `W` width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from grownn_hpo.ppo.map_features import MapFeatures
from grownn_hpo.ppo.network import VectorFeatures
from grownn_hpo.ppo.normalise import CLIP
from grownn_hpo.spec import Characters, Spaces

if TYPE_CHECKING:
    from grownn_hpo.acting.policy import Policy

OPSET, IR_VERSION = 20, 9  # the first with Gelu, and the version of the file's own form that goes with it


class _Graph:
    """Operators in the order in which they run, and the constants they read."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name


def write(policy: Policy, spaces: Spaces, key: str, metadata: str) -> bytes:
    """The policy as an ONNX file from `observations` to `actions`, `metadata` inside as the property `key`."""
    graph = _Graph()
    seen = spaces.observation
    if isinstance(seen, Characters):
        shape, kind = ["B", seen.rows, seen.columns], TensorProto.UINT8
    else:
        shape, kind = ["B", seen.size], TensorProto.FLOAT
    value = "observations"
    if policy.normalises:
        value = _normalised(graph, policy, value)
    features = policy.features
    value = _map(graph, features, value) if isinstance(features, MapFeatures) else _vector(graph, features, value)
    for layer in policy.layers:
        value = _layer(graph, layer, value)
    if policy.clips:
        value = graph.add("Max", value, graph.constant(policy.low.numpy()))
        graph.add("Min", value, graph.constant(policy.high.numpy()), output="actions")
        actions = helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["B", len(policy.low)])
    else:
        graph.add("ArgMax", value, output="actions", axis=1, keepdims=0)
        actions = helper.make_tensor_value_info("actions", TensorProto.INT64, ["B"])
    inputs = [helper.make_tensor_value_info("observations", kind, shape)]
    whole = helper.make_graph(graph.nodes, "policy", inputs, [actions], graph.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(whole, opset_imports=opsets, ir_version=IR_VERSION, producer_name="grownn-hpo")
    helper.set_model_props(model, {key: metadata})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def read(data: bytes) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The function that an ONNX file of `write` computes, by ONNX Runtime on one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(observations: NDArray[Any]) -> NDArray[Any]:
        actions: NDArray[Any] = session.run(["actions"], {"observations": observations})[0]
        return actions

    return run


def _normalised(graph: _Graph, policy: Policy, value: str) -> str:
    """As in training: in float64, clipped, then float32."""
    exact = graph.add("Cast", value, to=TensorProto.DOUBLE)
    centred = graph.add("Sub", exact, graph.constant(policy.mean.numpy()))
    scaled = graph.add("Div", centred, graph.constant(policy.deviation.numpy()))
    bounds = (graph.constant(np.array(bound, np.float64)) for bound in (-CLIP, CLIP))
    return graph.add("Cast", graph.add("Clip", scaled, *bounds), to=TensorProto.FLOAT)


def _vector(graph: _Graph, features: VectorFeatures, value: str) -> str:
    return _linear(graph, features.linear.weight, features.linear.bias, value)


def _map(graph: _Graph, features: MapFeatures, value: str) -> str:
    """Characters [B, rows, columns] -> those of the cells [B, N] -> their channels [B, N * C] -> [B, W]."""
    cells = graph.constant(features.cells.flatten().nonzero().squeeze(1).numpy())
    read = graph.add("Gather", graph.add("Flatten", value, axis=1), cells, axis=1)
    characters = graph.add("Cast", read, to=TensorProto.INT32)
    channels = graph.add("Gather", graph.constant(features.table().detach().numpy()), characters, axis=0)
    return _linear(graph, features.weight.T, features.bias, graph.add("Flatten", channels, axis=1))


def _layer(graph: _Graph, layer: nn.Module, value: str) -> str:
    """One of the layers that `ppo.network` builds its networks of."""
    match layer:
        case nn.Linear():
            return _linear(graph, layer.weight, layer.bias, value)
        case nn.Identity():
            return value
        case nn.ReLU():
            return graph.add("Relu", value)
        case nn.Hardtanh():
            bounds = (graph.constant(np.array(bound, np.float32)) for bound in (layer.min_val, layer.max_val))
            return graph.add("Clip", value, *bounds)
        case nn.Tanh():
            return graph.add("Tanh", value)
        case nn.GELU():
            return graph.add("Gelu", value)
        case nn.SiLU():
            return graph.add("Mul", value, graph.add("Sigmoid", value))
    raise AssertionError(f"{layer!r} is no layer of the networks here")


def _linear(graph: _Graph, weight: Tensor, bias: Tensor, value: str) -> str:
    """x [B, I] -> x W^T + b [B, O], W being [O, I]."""
    constants = (graph.constant(tensor.detach().numpy()) for tensor in (weight, bias))
    return graph.add("Gemm", value, *constants, transB=1)
