"""The network's three parts as ONNX graphs, for programs without PyTorch: `make browser` uses it.

    python browser/export.py --out runs/browser/model

writes query.onnx, memory.onnx and decoder.onnx, the weights as float16 safetensors, and model.json:
all that a program must know of the network, and one small clip with its mask, to try itself on.
The graphs hold no weights. Each initializer points to its bytes in the safetensors file, and a Cast
behind it makes float32 of them, so the weights are there once.
"""

import base64
import hashlib
import json
import shutil
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx_ir as ir
import onnxscript.optimizer
import torch
from torch import Tensor, nn
from torch.export import Dim

from gcvos_mini.bunny import load_bunny
from gcvos_mini.config import CONFIGS, STRIDE
from gcvos_mini.errors import BadInput, exit_on_bad_input, written_whole
from gcvos_mini.network import Network, Query, find_weights, load_model, read_weights, save_model
from gcvos_mini.segment import VideoSegmenter

WEIGHTS, METADATA = "weights.safetensors", "model.json"
OPSET = 20
CHECK_LINES, CHECK_FRAME = 96, 8  # of the clip in model.json: its height, and which frame is asked


class QueryEncoder(nn.Module):
    """frame (1, 3, H, W) in [0, 1] -> query (1, C_key, h, w), local feature, skips at 1/8, 1/4."""

    outputs = ("query", "local", "skip8", "skip4")

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """As Network.encode_query."""
        query = self.network.encode_query(frame)
        return query.key, query.local, *query.skips


class MemoryEncoder(QueryEncoder):
    """frame (1, 3, H, W), soft mask of one object (1, 1, H, W) -> key, value (1, C, h, w)."""

    outputs = ("key", "value")

    def forward(self, frame: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """As Network.encode_memory."""
        return self.network.encode_memory(frame, mask)


class Decoder(QueryEncoder):
    """context of one object (1, C_value, h, w), what the query encoder said, and, for a network
    that looks at it, the object's soft mask on the frame before (1, 1, H, W) -> log odds (1, H, W).
    """

    outputs = ("odds",)

    def forward(self, context, local, skip8, skip4, previous=None) -> Tensor:
        """As Network.decode."""
        return self.network.decode(context, Query(None, local, [skip8, skip4]), previous)


PARTS = {"query": QueryEncoder, "memory": MemoryEncoder, "decoder": Decoder}


def examples(network: Network) -> dict[str, dict[str, Tensor]]:
    """Inputs of each part, of one object and 3 x 4 cells, which export traces the network with.

    Of one object: Network asks for len(context), which a trace takes for a constant.
    """
    config, cells = network.config, (3, 4)
    frame = torch.rand(1, 3, *(STRIDE * n for n in cells))
    mask = torch.rand(1, 1, *frame.shape[2:])
    query = network.encode_query(frame)
    context = torch.rand(1, config.value_dim, *cells)
    decoder = {"context": context, "local": query.local,
               "skip8": query.skips[0], "skip4": query.skips[1]}  # fmt: skip
    if config.previous_mask:
        decoder["previous"] = mask
    return {"query": {"frame": frame}, "memory": {"frame": frame, "mask": mask},
            "decoder": decoder}  # fmt: skip


def free_sizes(inputs: dict[str, Tensor]) -> dict[str, dict[int, Dim]]:
    """Which sizes of the inputs are free: height and width, in cells of STRIDE pixels."""
    h, w = Dim("h", min=1, max=512), Dim("w", min=1, max=512)
    side = {"context": 1, "local": 1, "skip8": 2, "skip4": 4}  # values along a side of a cell
    sizes = {name: side.get(name, STRIDE) for name in inputs}
    return {name: {2: n * h, 3: n * w} if n > 1 else {2: h, 3: w} for name, n in sizes.items()}


def trace(part: nn.Module, inputs: dict[str, Tensor]) -> ir.Model:
    """The ONNX graph of a part: not optimised, so that its weights are those of the file, but
    what is constant in it (shapes, the most) is worked out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # two inputs have an axis of the same name
        model = torch.onnx.export(
            part,
            kwargs=inputs,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=free_sizes(inputs),
            input_names=list(inputs),
            output_names=list(part.outputs),
            optimize=False,
            verbose=False,
        ).model
    onnxscript.optimizer.fold_constants(model, output_size_limit=1024)
    onnxscript.optimizer.remove_unused_nodes(model)
    for node in model.graph:
        node.metadata_props.clear()  # from which line of Python it came: half of the file
    return model


def offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Where each tensor lies in a safetensors file: name -> (first byte, number of bytes)."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {name: (8 + length + start, end - start)
            for name, of in header.items() for start, end in [of["data_offsets"]]}  # fmt: skip


def point_into(model: ir.Model, path: Path) -> int:
    """Let the initializers of a graph point into a float16 safetensors file; how many do.

    Behind each comes a Cast to float32: float16 halves the file, the network computes in float32.
    """
    graph, places = model.graph, offsets(path)
    casts = []
    for name, value in list(graph.initializers.items()):
        stored = name.removeprefix("network.")
        if stored not in places:
            continue  # the mean and the spread of ImageNet's colours: small, and in no checkpoint
        start, length = places[stored]
        tensor = ir.ExternalTensor(
            path.name, start, length, ir.DataType.FLOAT16,
            shape=value.shape, name=stored, base_dir=path.parent,
        )  # fmt: skip
        half = ir.Value(name=stored, shape=value.shape, type=ir.TensorType(ir.DataType.FLOAT16),
                        const_value=tensor)  # fmt: skip
        cast = ir.node("Cast", [half], attributes={"to": ir.DataType.FLOAT})
        cast.outputs[0].name = f"{stored} in float32"
        cast.outputs[0].shape, cast.outputs[0].type = value.shape, value.type
        ir.convenience.replace_all_uses_with(value, cast.outputs[0])
        del graph.initializers[name]
        graph.register_initializer(half)
        casts.append(cast)
    graph.insert_before(graph[0], casts)
    return len(casts)


def png(pixels: np.ndarray) -> str:
    """A picture, uint8 (H, W, 3) or (H, W), as a PNG in base64."""
    coded = cv2.imencode(".png", pixels[..., ::-1] if pixels.ndim == 3 else pixels)[1]
    return base64.b64encode(coded.tobytes()).decode()


def check_clip(network: Network) -> dict:
    """Two frames of the bunny with the first one's mask, and the mask that is found in the second.

    A program that runs the graphs tries itself on it: other hardware may compute otherwise.
    """
    frames, masks = load_bunny()
    size = round(frames.shape[2] * CHECK_LINES / frames.shape[1]), CHECK_LINES
    first, later = (cv2.resize(frames[t], size, interpolation=cv2.INTER_AREA)
                    for t in (0, CHECK_FRAME))  # fmt: skip
    mask = cv2.resize(masks[0], size, interpolation=cv2.INTER_NEAREST_EXACT)
    segmenter = VideoSegmenter(network, "gc")
    segmenter.start(first, mask)
    found = segmenter.step(later)
    return {"frames": [png(first), png(later)], "masks": [png(mask), png(found)]}


def half_weights(checkpoint: Path | str, path: Path) -> Network:
    """The network of a checkpoint, its weights at `path` in float16, as the graphs read them."""
    network, source = load_model(checkpoint), find_weights(checkpoint)
    if network.config.light or network.config.normalization == "softmax":
        raise BadInput(f"{checkpoint}: a light encoder or softmaxed keys cannot be exported yet")
    stored = read_weights(source)[0].values()
    if all(x.dtype == torch.float16 for x in stored if x.is_floating_point()):
        shutil.copyfile(source, path)  # the shipped file, byte by byte
    else:
        save_model(network, path, half=True)
    return load_model(path)


def export(checkpoint: str, folder: Path) -> Network:
    """Write graphs, weights and model.json to a folder; the network that they are of.

    Raises BadInput on a checkpoint that cannot be used, and where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}: cannot be made ({error.strerror}); choose another") from error
    weights = folder / WEIGHTS
    network = half_weights(checkpoint, weights)
    with torch.no_grad():
        for name, inputs in examples(network).items():
            model = trace(PARTS[name](network).eval(), inputs)
            point_into(model, weights)
            ir.save(model, folder / f"{name}.onnx")
    about = network.config.stored() | {
        "stride": STRIDE,
        "parameters": sum(p.numel() for p in network.parameters()),
        "checkpoint": Path(checkpoint).stem if checkpoint not in CONFIGS else checkpoint,
        "weights": {"file": WEIGHTS, "bytes": weights.stat().st_size,
                    "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()},
        "graphs": {name: f"{name}.onnx" for name in PARTS},
        "check": check_clip(network),
    }  # fmt: skip
    with written_whole(folder / METADATA) as unfinished:
        unfinished.write_text(json.dumps(about))
    return network


def main(out: Path, checkpoint: str = "mini") -> None:
    """Write the network as three ONNX graphs beside its weights.

    Args:
        out: folder for the graphs, the weights and model.json.
        checkpoint: a shipped network's name, or a safetensors file.
    """
    own = {WEIGHTS, METADATA, *(f"{name}.onnx" for name in PARTS)}
    if any(path.name not in own for path in out.glob("*")):
        raise BadInput(f"{out}: holds other files; give a new or an empty folder")
    export(checkpoint, out)
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    print("\n".join(f"{size:>12,}  {name}" for name, size in sizes.items()))


if __name__ == "__main__":
    import tyro

    exit_on_bad_input(lambda: tyro.cli(main))
