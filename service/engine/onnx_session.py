"""The one place that imports onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_session(file: Path) -> InferenceSession:
    """A network ready to run, on one thread. Any number of threads may run it at once.

    Raises:
        ImportError: onnxruntime is not installed.
    """
    # The library reports its use to its vendor unless this is set before its first import. A service that
    # promises to work without a network must not try.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread: the caller runs several images at once, and sums must not depend on the number of cores.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Its memory goes back after each run: no slower, and less for a service that idles.
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
