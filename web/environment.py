"""What Gradio reads from the environment."""

GRADIO_ENVIRONMENT = {
    # It asks nobody outside for anything.
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    # Its own statistics of every event would be worked out with pandas after
    # each one; nothing here reads them.
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
}
