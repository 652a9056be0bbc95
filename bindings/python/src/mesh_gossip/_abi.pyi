# The module is made at build time, by cffi from the C header.
from typing import Any

ffi: Any
