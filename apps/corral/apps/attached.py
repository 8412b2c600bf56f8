"""Files that a person gives with a task: pictures, sounds, documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from corral.agents import DefinitionError
from corral.tools import Media

if TYPE_CHECKING:
    import dspy
    from pydantic.fields import FieldInfo

__all__ = ["PICTURES", "attach", "picture"]

PICTURES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
}
_MOST_BYTES = 20_000_000


def picture(path: Path, data: bytes | None = None) -> dspy.Image:
    """The picture in a file.

    Args:
        data: What is in it, if it was read already.

    Raises:
        DefinitionError: There is none, it is no picture, or larger than 20 MB.
    """
    import dspy

    kind = PICTURES.get(path.suffix.lower(), "")
    try:
        media = Media.of(path.read_bytes() if data is None else data, kind)
    except OSError as error:
        raise DefinitionError(f"{path}: {error.strerror}") from None
    if not media.is_picture(_MOST_BYTES):
        raise DefinitionError(f"{path} is no PNG, JPEG, GIF or WebP of at most 20 MB")
    return dspy.Image(f"data:{kind};base64,{media.data}")


def attach(inputs: Mapping[str, Any], fields: Mapping[str, FieldInfo], folder: Path) -> dict[str, Any]:
    """Inputs with the files that they name, where the signature takes a picture, a sound or a file.

    Args:
        folder: What their names are relative to. Addresses and data URIs stay what they are.

    Raises:
        DefinitionError: One can't be read.
    """
    return {
        name: _read(value, fields[name].annotation, folder) if name in fields else value
        for name, value in inputs.items()
    }


def _read(value: Any, annotation: Any, folder: Path) -> Any:
    import dspy

    if isinstance(value, list):
        inner = next(iter(get_args(annotation)), None)
        return [_read(each, inner, folder) for each in cast("list[Any]", value)]
    if not isinstance(value, str) or "://" in value or value.startswith("data:"):
        return value
    try:
        if annotation is dspy.Image:
            return picture(folder / value)
        if annotation is dspy.Audio:
            return dspy.Audio.from_path(str(folder / value))
        return dspy.File.from_path(str(folder / value)) if annotation is dspy.File else value
    except (OSError, ValueError) as error:
        raise DefinitionError(f"{folder / value}: {error}") from None
