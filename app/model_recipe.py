"""Lines of Python that load a run's model."""

from __future__ import annotations

from shared.parameters import Arrays


def how_to_load(model: str, arrays: Arrays, *, private: bool = False) -> str:
    """Return the lines: for the cnn in plain torch, for other models with this package's builder."""
    if model == "cnn" and "fc2.weight" in arrays:
        return _cnn_in_plain_torch(arrays)
    return (
        "from safetensors.torch import load_file\n"
        "from shared.models.catalog import build_model\n"
        f"model = build_model({model!r}, input_shape, num_classes, seed=0{', private=True' if private else ''})\n"
        'model.load_state_dict(load_file("model.safetensors"))\n'
        "model.eval()\n"
    )


def _cnn_in_plain_torch(arrays: Arrays) -> str:
    channels = arrays["conv1.weight"].shape[1]
    hidden, features = arrays["fc1.weight"].shape
    classes = arrays["fc2.weight"].shape[0]
    layers = (
        f"conv1=Conv2d({channels}, 16, 5), a=ReLU(), b=MaxPool2d(2), "
        f"conv2=Conv2d(16, 32, 5), c=ReLU(), d=MaxPool2d(2), "
        f"e=Flatten(), fc1=Linear({features}, {hidden}), f=ReLU(), fc2=Linear({hidden}, {classes})"
    )
    return (
        "from collections import OrderedDict\n"
        "from safetensors.torch import load_file\n"
        "from torch.nn import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential\n"
        f"model = Sequential(OrderedDict({layers}))\n"
        'model.load_state_dict(load_file("model.safetensors"))\n'
    )
