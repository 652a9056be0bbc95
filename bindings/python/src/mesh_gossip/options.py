"""What an agent is started with.

Invariant: a setting that is refused changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Union

from ._abi import ffi
from ._handle import Handle
from ._library import call, lib, path_text, text

#: What a setting can be set to; None takes back what file and environment say.
Setting = Union[str, bool, int, float, timedelta, Sequence[str], None]


class Options:
    """Settings of an agent. Close it, or use it as a context; agents keep a copy of theirs."""

    def __init__(self, owned: Any) -> None:
        self._handle = Handle(owned, lib.mesh_gossip_options_free, "set of options")

    @classmethod
    def from_json(cls, document: str | Mapping[str, Any]) -> Options:
        """From JSON alone, `{"mesh": {"gossip": {...}}}`, as text or as a mapping; no file and no
        variable counts."""
        if not isinstance(document, str):
            document = json.dumps(document)
        out = ffi.new("mesh_gossip_options **")
        call(lib.mesh_gossip_options_from_json, text(document, "document"), out)
        return cls(out[0])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Options:
        """From a JSON file, under the variables of the environment (`MESH__GOSSIP__*`)."""
        out = ffi.new("mesh_gossip_options **")
        call(lib.mesh_gossip_options_from_file, path_text(path, "path"), out)
        return cls(out[0])

    def set(self, key: str, value: Setting) -> Options:
        """Sets a key, `"fanout"` or `"tls:caPath"`, over file and environment."""
        written = ffi.NULL if value is None else text(setting_text(value), "value")
        with self._handle.use() as options:
            call(lib.mesh_gossip_options_set, options, text(key, "key"), written)
        return self

    def close(self) -> None:
        """Frees the options; agents that were started with them go on."""
        self._handle.close()

    def __enter__(self) -> Options:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def setting_text(value: str | bool | int | float | timedelta | Sequence[str]) -> str:
    """A value as people write it in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
    if isinstance(value, (str, int, float)):
        return str(value)
    return ",".join(value)
