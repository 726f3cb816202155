"""The user's own networks, by import path: ``package.module:function``.

The function is called as ``function(shape, classes)``, with ``width=...`` too where it has such a parameter, and
returns an `nn.Module` that draws its weights from torch's generator. A path is imported; nothing is evaluated.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lossforge.errors import ModelError, UserCodeError
from lossforge.models.activations.registry import USUAL, is_usual, make_activation
from lossforge.models.user_code import calling, ending, importing, pass_on_stop
from lossforge.spaces.base_folder import base_folder

if TYPE_CHECKING:
    from types import ModuleType

    from torch import nn

Shape = tuple[int, int, int]
"""Shape of a sample, ``(C, H, W)``; ``(features, 1, 1)`` where it is no image."""

_PATH = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


def import_function(path: str, key: str = "task.model") -> Callable[..., Any]:
    """What ``package.module:function`` names, given as ``key``. Raises ModelError where there is none.

    Installed packages are looked up first, then the folder that the search was started in.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise ModelError(f"{key}: '{path}' is no import path; write it as package.module:function")
    module_name, name = match.groups()
    here = str(base_folder())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = _imported(module_name)
    except BaseException as error:
        pass_on_stop(error)
        missing = isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}.")
        reason = f"there is no module '{error.name}'" if missing else f"importing it failed: {ending(error, path)}"  # type: ignore[attr-defined]
        raise ModelError(f"{key}: '{path}': {reason} (looked in installed packages and in {here})") from error
    function = getattr(module, name, None)
    if not callable(function):
        what = "has no" if function is None else "cannot be called:"
        raise ModelError(f"{key}: '{path}': module '{module_name}' {what} '{name}'")
    return function  # type: ignore[no-any-return]


def _imported(name: str) -> ModuleType:
    if name in sys.modules or name.startswith("lossforge."):
        return importlib.import_module(name)
    with importing(name):
        return importlib.import_module(name)


@lru_cache(maxsize=64)
def source_digest(path: str) -> str:
    """sha256 of the file that the function is in, or "" where it has none. Raises ModelError as `import_function`."""
    function = import_function(path)
    try:
        text = Path(inspect.getfile(inspect.unwrap(function))).read_bytes()
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text).hexdigest()


def build_imported(
    path: str, shape: Shape, classes: int, width: int, *, dense: bool, activation: str = USUAL
) -> nn.Module:
    """The user's network, drawn from torch's global generator. Raises ModelError where it does not fit.

    The first of each kind is tried out on zeros, as a copy that is thrown away.
    """
    import torch

    check_takes_activation(path, activation)
    state = torch.get_rng_state()
    _try_out(path, shape, classes, width, dense, activation)
    torch.set_rng_state(state)
    return _build(path, shape, classes, width, activation)


def check_takes_activation(path: str, activation: str) -> None:
    """Raise ModelError where a function of the user's own cannot be imported, or is given what it does not take."""
    function = import_function(path)
    if not is_usual(activation) and not has_parameter(function, "activation"):
        raise ModelError(
            f"task.activation: '{path}' has no parameter 'activation'; give it one (activation=nn.ReLU: what makes a "
            "module when it is called), or leave task.activation out"
        )


def _build(path: str, shape: Shape, classes: int, width: int, activation: str) -> nn.Module:
    import torch
    from torch import nn

    function = import_function(path)
    given: dict[str, Any] = {"width": width} if has_parameter(function, "width") else {}
    if not is_usual(activation):
        given["activation"] = partial(make_activation, activation)
    try:
        with calling(path):
            network = function(shape, classes, **given)
    except BaseException as error:
        pass_on_stop(error)
        told = f"task.model: '{path}' failed when called with {shape}, {classes}: {ending(error, path)}"
        raise UserCodeError(told) from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"task.model: '{path}' returned {type(network).__name__}, not an nn.Module")
    if any(nn.parameter.is_lazy(weight) for weight in (*network.parameters(), *network.buffers())):
        network.eval()
        with torch.no_grad():
            _logits(path, network, shape)
    return network.train()


@lru_cache(maxsize=64)
def _try_out(path: str, shape: Shape, classes: int, width: int, dense: bool, activation: str) -> None:
    import torch

    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(_build(path, shape, classes, width, activation))
    first, second = ([*network.parameters(), *network.buffers()] for network in networks)
    if not first or not all(map(torch.equal, first, second)):
        fault = "has weights that do not follow torch's seed" if first else "has no weights"
        raise ModelError(f"task.model: '{path}' {fault}")
    wanted = (2, classes, *shape[1:]) if dense else (2, classes)
    for training in (True, False):
        with torch.no_grad():
            output = _logits(path, networks[0].train(training), shape)
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        if found != wanted:
            mode = "training" if training else "evaluation"
            raise ModelError(
                f"task.model: '{path}' must give logits of shape {wanted} for 2 samples of {shape}, not {found} (in "
                f"{mode})"
            )


def _logits(path: str, network: nn.Module, shape: Shape) -> object:
    import torch

    try:
        with calling(path):
            return network(torch.zeros(2, *shape))
    except BaseException as error:
        pass_on_stop(error)
        told = f"task.model: '{path}' failed on 2 samples of {shape}: {ending(error, path)}"
        raise UserCodeError(told) from error


def has_parameter(function: Callable[..., Any], name: str) -> bool:
    """Whether a function can be called with ``name=...``; False for one that does not say what it takes."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
