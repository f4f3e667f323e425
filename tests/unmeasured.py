"""What loads the real engine is not measured for coverage: traced, it takes nearly twice as long to start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Makes the processes that are started measure what they run; see coverage's patch "subprocess".
MEASURES = "COVERAGE_PROCESS_CONFIG"


@contextmanager
def unmeasured() -> Iterator[None]:
    """Whatever this block starts measures nothing; what runs in this process is measured as before."""
    configuration = os.environ.pop(MEASURES, None)
    try:
        yield
    finally:
        if configuration is not None:
            os.environ[MEASURES] = configuration
