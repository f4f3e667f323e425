"""Calls of tools that a model makes: what is offered, who decides, who runs them, what comes of it."""
