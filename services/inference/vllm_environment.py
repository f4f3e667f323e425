"""What vLLM finds in the environment when it is imported; what the operator set stands."""

from __future__ import annotations

import os
from pathlib import Path

for _name, _value in {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_CONFIG_PATH": str(Path(__file__).with_name("engine_logging.json")),
    # A fork would inherit gRPC's sockets and threads.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "TOKENIZERS_PARALLELISM": "false",
    # Torch writes plain text; what it warns of is for developers of models.
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",
}.items():
    os.environ.setdefault(_name, _value)
