"""Which of a device's tables price an op: its class, its work and its narrowest dimension.

A class is a name such as `"matmul"`, `"attention.flash"`, `"conv3d"` or `"memory.norm"`; a table is called by a class and a dtype, or by
the class alone. `NOTHING` ops make or rename a tensor without touching its data.
"""

from __future__ import annotations

from typing import Final

from workbench.cost._trace import Op

MEMORY_CLASSES: Final = {
    "gelu": ("gelu",),
    "activation": ("silu", "sigmoid", "tanh", "exp", "sin", "cos", "softplus", "mish", "log", "erf", "pow", "sqrt", "rsqrt"),
    "norm": ("native_layer_norm", "_fused_rms_norm"),
    "group_norm": ("native_group_norm", "native_batch_norm"),
    "softmax": ("_softmax", "_safe_softmax", "_log_softmax"),
    "reduction": ("mean", "sum", "amax", "amin", "var", "std", "var_mean", "max", "min", "cumsum", "any", "all"),
    "vector_norm": ("linalg_vector_norm",),
    "copy": ("copy_", "cat", "stack", "constant_pad_nd", "repeat", "reflection_pad2d", "replication_pad2d", "replication_pad3d"),
    "permute": ("clone", "pixel_shuffle", "pixel_unshuffle"),
    "gather": ("index", "gather", "embedding", "index_select", "index_put_", "scatter", "masked_fill", "where"),
    "upsample": (
        "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_nearest3d", "_upsample_nearest_exact3d", "upsample_nearest1d",
        "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    ),
    "random": ("randn", "randn_like", "rand_like", "normal_", "rand", "randint", "bernoulli_"),
    "fill": ("zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "fill_", "zero_", "arange"),
}  # fmt: skip
"""Class of memory-bound ops -> their ATen names. Every other one is `elementwise`, and a `_to_copy` that changes the dtype is a `cast`."""
_CLASS_OF: Final = {name: group for group, members in MEMORY_CLASSES.items() for name in members}
NOTHING: Final = frozenset(
    {
        "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "detach_", "lift", "resize_",
    }
)  # fmt: skip
SCATTERED: Final = "memory.scattered"
HALF_ELEMENT_BYTES: Final = 4.0
"""Read and written of one element in half precision: what the rate of `memory.scattered` was measured with."""
_ATTENTION: Final = (("flash_attention_for_cpu", "cpu"), ("flash", "flash"), ("cudnn", "cudnn"))

_MKLDNN_LEAST_ROWS: Final = 20480


def base_name(op: Op) -> str:
    """`"aten.add.Tensor"` -> `"add"`."""
    parts = op.name.split(".")
    return parts[1] if len(parts) > 1 else op.name


def classify(op: Op, *, on_cpu: bool) -> tuple[str, float, float]:
    """(class, work, narrowest dimension) of an op; the class is empty if nothing is computed or moved.

    Work is FLOPs, or bytes read and written of what moves or maps numbers; of `conv3d_small` it is the elements of all windows, and its
    output channels take the place of the narrowest dimension. Of `memory.scattered` it is the elements, each as the bytes that one in half
    precision reads and writes: the addresses cost the same whatever its size.

    Args:
        on_cpu: whether it runs on PyTorch's CPU kernels.
    """
    if op.kind == "memory":
        return _memory(op, on_cpu)
    if op.kind == "matmul":
        group = "matmul.int4" if base_name(op) == "_weight_int4pack_mm" else "matmul"
        return group, float(op.flops), float(min(op.dims[1:], default=1) or 1)
    if op.kind == "attention":
        kernel = next((name for word, name in _ATTENTION if word in op.name), "efficient")
        return f"attention.{kernel}", float(op.flops), float(min(op.dims[2:], default=1) or 1)
    if op.kind == "conv":
        group = _conv(op, on_cpu)
        if (
            group == "conv3d_small"
        ):  # spells every window out before it multiplies, however few channels come out
            return group, float(op.dims[0] * op.dims[2]), float(op.dims[1])
        return group, float(op.flops), float(min(op.dims[1:3], default=1) or 1)
    return "", 0.0, 1.0


def _memory(op: Op, on_cpu: bool) -> tuple[str, float, float]:
    name = base_name(op)
    work = float(op.read_bytes + op.write_bytes)
    if op.kind == "view" or name in NOTHING:
        return "", 0.0, 1.0
    if op.dims and not on_cpu:
        return SCATTERED, HALF_ELEMENT_BYTES * op.dims[0], 1.0
    if name == "_to_copy":
        return ("memory.copy" if op.read_bytes == op.write_bytes else "memory.cast"), work, 1.0
    return f"memory.{_CLASS_OF.get(name, 'elementwise')}", work, 1.0


def _conv(op: Op, on_cpu: bool) -> str:
    spatial, groups, batch, rows = (*op.dims[3:], *(0, 0, 0, 0))[:4]
    if groups > 1:
        return "conv_depthwise"
    if spatial != 3:
        return "conv2d"
    # aten/src/ATen/native/Convolution.cpp, use_mkldnn: a small fp32 input of batch 1 takes im2col and a product instead (slow_conv3d)
    if on_cpu and op.dtype == "fp32" and batch == 1 and rows <= _MKLDNN_LEAST_ROWS:
        return "conv3d_small"
    return "conv3d"
