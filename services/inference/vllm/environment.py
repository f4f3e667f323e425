"""What vLLM finds in the environment when it is imported; what the operator set stands."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

for _name, _value in {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_CONFIG_PATH": str(Path(__file__).with_name("engine_logging.json")),
    # A fork would inherit gRPC's sockets and threads.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "TOKENIZERS_PARALLELISM": "false",
    # As many as the contract allows; by itself vLLM's request models take 4.
    "VLLM_MAX_STOP_STRINGS": "16",
    # Torch writes plain text; what it warns of is for developers of models.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}.items():
    os.environ.setdefault(_name, _value)

if "VLLM_RPC_BASE_PATH" not in os.environ:
    # Its processes talk over sockets that anybody could open in the folder for temporary files, and that a
    # killed engine leaves there.
    _sockets = tempfile.mkdtemp(prefix="parley-engine-")
    os.environ["VLLM_RPC_BASE_PATH"] = _sockets
    atexit.register(shutil.rmtree, _sockets, ignore_errors=True)
