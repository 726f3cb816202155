"""Code of the user's own, imported and called: what it changes stays its own, and how it ended is told in one line.

A script that was written to be started by itself may read `sys.argv`, leave by `sys.exit`, close standard output, go to
another folder or set torch's defaults. None of that may reach the search, or another loss's training.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

from lossforge.interrupts import StoppedAtOnceError, ctrl_c_told_apart

_LONGEST = 20_000
"""Characters of a traceback that are kept, its last."""
_LINE = 300
"""Characters of an error's first line that are told."""
_OURS = str(Path(__file__).parents[1])


def _folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it is gone
        return ""


def _getters() -> dict[str, tuple[Callable[[], Any], Callable[[Any], object]]]:
    """How each setting of the process that code may change is read, and set."""
    import numpy
    import torch

    def determinism() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    def device() -> torch.device | None:
        found = torch.get_default_device()
        return None if found.type == "cpu" else found

    def cudnn() -> tuple[bool, bool, bool, bool]:
        flags = torch.backends.cudnn
        return flags.enabled, flags.benchmark, flags.deterministic, flags.allow_tf32

    def set_cudnn(values: tuple[bool, bool, bool, bool]) -> None:
        flags = torch.backends.cudnn
        flags.enabled, flags.benchmark, flags.deterministic, flags.allow_tf32 = values

    return {
        "folder": (_folder, os.chdir),
        "dtype": (torch.get_default_dtype, torch.set_default_dtype),
        "device": (device, torch.set_default_device),
        "threads": (torch.get_num_threads, torch.set_num_threads),
        "gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
        "determinism": (
            determinism,
            lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        ),
        "precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        "anomalies": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        "cudnn": (cudnn, set_cudnn),
        "numpy": (numpy.geterr, lambda value: numpy.seterr(**value)),
        "warnings": (lambda: list(warnings.filters), _set_filters),
    }


def _set_filters(filters: list[Any]) -> None:
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]


_Settings = dict[str, Any]
_made_at_import: dict[str, _Settings] = {}
"""What each module of the user's own set when it was imported: it holds in the module's own trainings."""


_UNREADABLE = object()


def _read(read: Callable[[], Any]) -> Any:
    """A setting; torch refuses to tell some of them once they were made in both its old and its new way."""
    try:
        return read()
    except RuntimeError:
        return _UNREADABLE


def _settings() -> _Settings:
    return {name: _read(read) for name, (read, _) in _getters().items()}


def _apply(wanted: _Settings) -> None:
    for name, (read, write) in _getters().items():
        value = wanted.get(name, _UNREADABLE)
        if value is not _UNREADABLE and _read(read) != value:
            with suppress(OSError, RuntimeError):  # a folder that is gone, or what torch does not let one set
                write(value)


@contextmanager
def importing(module: str) -> Iterator[None]:
    """Import a module of the user's own within it: its settings are set back, and kept for `calling`."""
    with _kept_apart(module):
        before = _settings()
        try:
            yield
            after = _settings()
            _made_at_import[module] = {name: value for name, value in after.items() if value != before[name]}
        finally:
            _apply(before)


@contextmanager
def calling(path: str, *, settings: bool = False) -> Iterator[None]:
    """Call a function of ``module:function`` within it; with the ``settings`` that its module made, where asked for."""
    module = path.partition(":")[0]
    with _kept_apart(module):
        before = _settings()
        if settings:
            _apply(_made_at_import.get(module, {}))
        try:
            yield
        finally:
            _apply(before)


@contextmanager
def _kept_apart(module: str) -> Iterator[None]:
    """Arguments, standard streams and signals of the process are not the code's: it gets others."""
    before, process, code = (sys.argv, sys.stdin, sys.stdout, sys.stderr), os.getpid(), 1
    main = threading.current_thread() is threading.main_thread()
    with ctrl_c_told_apart():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
        sys.argv, sys.stdin, sys.stdout, sys.stderr = [module], StringIO(), _echo(), _echo()
        try:
            yield
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            raise
        finally:
            if os.getpid() != process:  # the child of a fork came back: there is no work for it here
                os._exit(code)
            sys.argv, sys.stdin, sys.stdout, sys.stderr = before
            for number, handler in handlers.items():
                if handler is not None and signal.getsignal(number) is not handler:
                    signal.signal(number, handler)


_echoes: dict[tuple[int, int], TextIO] = {}
"""A second name for standard error, by device and number of the file: it is left open, since loggers may hold it."""


def _echo() -> TextIO:
    """Where the user's code prints to: standard error, by a name that may be closed. Standard output is for answers."""
    try:
        number = sys.stderr.fileno()
        state = os.fstat(number)
    except (AttributeError, OSError, ValueError):
        return sys.stderr
    place = (state.st_dev, state.st_ino)
    found = _echoes.get(place)
    if found is None or found.closed:
        found = os.fdopen(os.dup(number), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        atexit.register(found.close)
        _echoes[place] = found
    return found


def pass_on_stop(error: BaseException) -> None:
    """Raise the user's own Ctrl-C on; whatever else code raised, SystemExit too, is its failure."""
    if isinstance(error, StoppedAtOnceError):
        raise error


def ending(error: BaseException, path: str = "") -> str:
    """How code ended, in one line: the error, and the file and line of ``module:function``'s own that it came from."""
    if isinstance(error, SystemExit):
        line = f"it called sys.exit({'' if error.code is None else shown(error.code)})"
    else:
        message = message_of(error)
        line = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place = _place(error, path.partition(":")[0])
    return f"{line} ({place})" if place else line


def message_of(error: BaseException) -> str:
    """The first line of an error's own text, "" where it has none or cannot say it."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:
        return ""
    return _plain(lines[0][:_LINE]) if lines else ""


def whole_traceback(error: BaseException) -> str:
    """The traceback, for the log."""
    return _plain("".join(traceback.format_exception(error)).strip()[-_LONGEST:])


def _plain(text: str) -> str:
    """The text in letters that can be written as UTF-8: a ledger takes no others."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(value: object) -> str:
    """A value as Python writes it, in 60 characters at most, or its type where it cannot be written."""
    try:
        text = repr(value)
    except Exception:
        text = type(value).__name__
    return _plain(text if len(text) <= 60 else f"{text[:57]}...")


def _place(error: BaseException, module: str) -> str:
    """The innermost line of the user's own files: beside the module's, or else of no library."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{Path(error.filename).name}, line {error.lineno}"
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    libraries = (_OURS, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")), "<")
    others = [frame for frame in frames if not frame[0].startswith(libraries)]
    home = getattr(sys.modules.get(module), "__file__", None) or ""
    own = frames if home.startswith(libraries) else others
    beside = [frame for frame in own if home and Path(frame[0]).is_relative_to(Path(home).parent)]
    for chosen in (beside, others):
        if chosen:
            return f"{Path(chosen[-1][0]).name}, line {chosen[-1][1]}"
    return ""
