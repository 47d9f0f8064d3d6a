"""What can go wrong."""

from __future__ import annotations


class TanninError(Exception):
    """Every error of this package."""


class QueryError(TanninError):
    """The statement was refused, or failed."""

    def __init__(
        self,
        message: str,
        code: int | None = None,
        line: int | None = None,
        column: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        #: Pinot's number of the kind of error: 150 syntax, 190 no such table, 250 timeout, ...
        self.code = code
        #: Place in the statement, from 1 on; None: no place.
        self.line = line
        self.column = column

    def __str__(self) -> str:
        place = f" (line {self.line}, column {self.column})" if self.line else ""
        return f"{self.message}{place}"


class AppendError(TanninError):
    """Rows were refused: none of them was appended, unless the message says so."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class AccessError(TanninError):
    """Who asks is not known (`status` 401), or may not do this (403)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class Unavailable(TanninError):
    """Nobody answers, or there are too many requests, also after retries within the timeout."""
