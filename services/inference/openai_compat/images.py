"""OpenAI's images as those of the contract: files within the request, and never an address."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from parley.inference.v1 import message_pb2
from services.inference.errors import ParameterInvalid, ParameterUnsupported
from services.inference.images.errors import ImageNotInline

_FILE = re.compile(r"data:(image/[a-z0-9.+-]{1,64});base64,", re.IGNORECASE)
# No such type is registered, and many write it.
_MEANT = {"image/jpg": "image/jpeg"}
# What is given to the model is the whole image, which is what these ask for.
_WHOLE = (None, "auto", "high")


def image(url: Any, detail: Any, path: str) -> message_pb2.Image:
    """The image that a part brings.

    An address is not fetched: whoever names one could make this service call
    what only it can reach, and wait for what never ends.

    Raises:
        ImageNotInline: It is an address.
        ParameterInvalid: It is a `data:` URL that holds no image.
        ParameterUnsupported: Less than the whole image is to be shown.
    """
    if detail not in _WHOLE:
        raise ParameterUnsupported(f"{path}.detail")
    if not isinstance(url, str):
        raise ParameterUnsupported(path)  # A file that OpenAI has, or none.
    if url[:5].lower() != "data:":
        raise ImageNotInline(path)
    head = _FILE.match(url)
    if head is None:
        raise ParameterInvalid(path, "it is no data:image/…;base64,… URL")
    media_type = head[1].lower()
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except binascii.Error as error:
        raise ParameterInvalid(path, f"it is not in base64 ({error})") from None
    return message_pb2.Image(data=data, media_type=_MEANT.get(media_type, media_type))
