"""What became of a call that failed: one class for each way of dealing with it.

Invariant: every failure of the library is a `MeshGossipError` with its code, and with the name of
the argument or setting that it is about, where it is about one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class ErrorCode(IntEnum):
    """Codes of the C ABI."""

    ABI = 1
    ARGUMENT = 2
    UTF8 = 3
    TOO_LARGE = 4
    CONFIG = 5
    CREDENTIALS = 6
    IO = 7
    STOPPED = 8
    TIMEOUT = 9
    BUSY = 10
    NOT_FOUND = 11
    REFUSED = 12
    REENTRANT = 13
    FORKED = 14
    PANIC = 15
    POISONED = 16
    STRUCT_SIZE = 17
    DISABLED = 18


class MeshGossipError(Exception):
    """A call failed, and has changed nothing unless its class says so."""

    #: One of `ErrorCode`, or a number that a newer library knows.
    code: ErrorCode | int
    #: What is wrong and what would be right.
    message: str
    #: The argument or setting that it is about.
    field: str | None

    def __init__(self, code: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        try:
            self.code = ErrorCode(code)
        except ValueError:
            self.code = code
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (int(self.code), self.message, self.field)


class ArgumentError(MeshGossipError, ValueError):
    """An argument is out of range, too long or no UTF-8."""


class ConfigError(MeshGossipError, ValueError):
    """A setting is wrong; `field` names it."""


class CredentialsError(MeshGossipError):
    """Certificate, key, trust or a revocation list does not hold."""


class SystemRefusedError(MeshGossipError):
    """The operating system refused: a port that is taken, a file, a thread."""


class StoppedError(MeshGossipError):
    """The agent has stopped, has left or is closed."""


class CommandTimeoutError(MeshGossipError, TimeoutError):
    """No answer came in time; what was asked for may still happen."""


class BusyError(MeshGossipError):
    """Too much at once; try again a little later."""


class NotFoundError(MeshGossipError, LookupError):
    """No such member or scope."""


class RefusedError(MeshGossipError):
    """The agent refused the command."""


class ForkedError(MeshGossipError):
    """The handle was made before a fork: it belongs to the parent process."""


class DefectError(MeshGossipError):
    """A defect of the library; the handle can only be closed."""


_CLASSES: dict[int, type[MeshGossipError]] = {
    ErrorCode.ARGUMENT: ArgumentError,
    ErrorCode.UTF8: ArgumentError,
    ErrorCode.TOO_LARGE: ArgumentError,
    ErrorCode.CONFIG: ConfigError,
    ErrorCode.DISABLED: ConfigError,
    ErrorCode.CREDENTIALS: CredentialsError,
    ErrorCode.IO: SystemRefusedError,
    ErrorCode.STOPPED: StoppedError,
    ErrorCode.TIMEOUT: CommandTimeoutError,
    ErrorCode.BUSY: BusyError,
    ErrorCode.NOT_FOUND: NotFoundError,
    ErrorCode.REFUSED: RefusedError,
    ErrorCode.FORKED: ForkedError,
    ErrorCode.PANIC: DefectError,
    ErrorCode.POISONED: DefectError,
}


def error_of(code: int, message: str, field: str | None = None) -> MeshGossipError:
    """The error of the class that fits the code."""
    return _CLASSES.get(code, MeshGossipError)(code, message, field)
