"""vLLM behind the engine's port: all that knows of it, but the HTTP surface's request models."""
