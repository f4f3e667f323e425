"""Says how gRPC starts, before anything imports it."""

import os

# gRPC's handlers of fork(2) run in every child that uvloop starts, and now and then end it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
