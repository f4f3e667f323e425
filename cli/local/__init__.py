"""The local stack, as `parley up` runs it: its processes, their supervision, replicas that come and go."""
