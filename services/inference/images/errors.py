"""The errors of images in messages; `error_reason.proto` says what each means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from parley.inference.v1 import error_reason_pb2
from services.inference.errors import MAX_PARAMETER_CHARACTERS, InferenceError


class ImagePlace(NamedTuple):
    """Where an image stands: in which message, and which of its images it is; both counted from 0."""

    message: int
    image: int

    def __str__(self) -> str:
        return f"image {self.image} of messages[{self.message}]"

    @property
    def metadata(self) -> dict[str, str]:
        """The place as errors name it."""
        return {"message": str(self.message), "image": str(self.image)}


class ImageUnreadable(InferenceError):
    """A file that should be an image is none, or is broken."""

    reason = error_reason_pb2.ERROR_REASON_IMAGE_UNREADABLE

    def __init__(self, place: ImagePlace) -> None:
        super().__init__(
            f"The file of {place} cannot be read as an image: it is none, or it is cut off or broken.",
            metadata=place.metadata,
        )


class ImageFormatRefused(InferenceError):
    """An image is of a format that is not taken, or not what it is said to be."""

    reason = error_reason_pb2.ERROR_REASON_IMAGE_FORMAT_REFUSED

    def __init__(self, place: ImagePlace, fault: str, formats: Iterable[str]) -> None:
        taken = sorted(formats)
        super().__init__(
            f"The format of {place} is refused: {fault}. Stills of these are taken: {', '.join(taken)}.",
            metadata={**place.metadata, "formats": ",".join(taken)},
        )


class ImageTooLarge(InferenceError):
    """An image has more bytes or pixels than one may have."""

    reason = error_reason_pb2.ERROR_REASON_IMAGE_TOO_LARGE

    def __init__(self, place: ImagePlace, unit: str, size: int, limit: int) -> None:
        super().__init__(
            f"The size of {place} is {size} {unit} or more; one may have {limit}. Send a smaller one.",
            metadata={**place.metadata, "unit": unit, "size": str(size), "limit": str(limit)},
        )


class TooManyImages(InferenceError):
    """The messages have more images than a request may bring."""

    reason = error_reason_pb2.ERROR_REASON_TOO_MANY_IMAGES

    def __init__(self, images: int, limit: int) -> None:
        super().__init__(
            f"The messages have {images} images; a request may bring {limit}.",
            metadata={"images": str(images), "limit": str(limit)},
        )


class ImageNotInline(InferenceError):
    """An image is an address that would have to be fetched."""

    reason = error_reason_pb2.ERROR_REASON_IMAGE_NOT_INLINE

    def __init__(self, parameter: str) -> None:
        shown = parameter[:MAX_PARAMETER_CHARACTERS]
        super().__init__(
            f"{shown}: images are not fetched from addresses. Send the file itself: data:image/png;base64,…",
            metadata={"parameter": shown},
        )
