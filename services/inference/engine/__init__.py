"""The port to an engine: what the rest of inference knows of a model that runs, and asks of it."""
