"""Images made for tests."""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from parley.inference.v1 import model_pb2

TYPES = ("image/gif", "image/jpeg", "image/png", "image/webp")


def file(colour: str = "red", size: tuple[int, int] = (64, 48), form: str = "PNG") -> bytes:
    """A picture of one colour."""
    written = BytesIO()
    Image.new("RGB", size, colour).save(written, form)
    return written.getvalue()


def seeing(**limits: object) -> model_pb2.Model:
    """A model that takes images."""
    law = {"max_images": 3, "max_bytes": 100_000, "max_pixels": 1_000_000, "media_types": TYPES} | limits
    return model_pb2.Model(
        name="parley-demo",
        context_length=2048,
        is_default=True,
        state=model_pb2.MODEL_STATE_READY,
        image_limits=model_pb2.ImageLimits(**law),  # type: ignore[arg-type]
    )
