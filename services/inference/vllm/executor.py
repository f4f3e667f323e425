"""Where a model that one process runs on a CPU is run: in the engine's process itself."""

from __future__ import annotations

from vllm.v1.executor.uniproc_executor import UniProcExecutor


class CpuExecutor(UniProcExecutor):
    """Runs the model in the scheduler's process, as vLLM does on one GPU.

    On CPU it starts a process of its own for that, as OpenMP's variables must be there before torch is. The
    engine's process is new too, so they can be set for it (`vllm_start`); what is saved is one import of
    torch and vLLM at the start, their memory, and a message to and fro at each step. A kind of its own,
    because vLLM reads `uni` on CPU as its executor of several processes.
    """
