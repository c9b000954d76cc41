"""The fields of a `record`: which values fit, and what an unset field reads as.

A field is a descriptor of its record's class and keeps its value in the record's `values_`.  What does not fit is refused when
it is set, with TypeError (another type) or UnicodeError (text that UTF-8 cannot carry), as the protocol buffers of the original
do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Protocol, Self, TypeVar, overload

__all__ = ["Blob", "Field", "Flag", "Holder", "Repeated", "Scalar", "Text", "Texts"]

T = TypeVar("T")


class Holder(Protocol):
    """What has fields: a record."""

    values_: dict[str, Any]


class Field:
    """A field of a record.  number: its number on the wire."""

    name = ""
    is_repeated = False

    def __init__(self, number: int, *, is_required: bool = False) -> None:
        self.number = number
        self.is_required = is_required

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def fitting(self, value: Any) -> Any:
        """The value as it is kept.  Raises TypeError or UnicodeError."""
        raise NotImplementedError


class Scalar(Field, Generic[T]):
    """A field of one value, which reads as `default` while unset."""

    default: T

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: Holder, owner: type) -> T: ...
    def __get__(self, holder: Holder | None, owner: type) -> Self | T:
        return self if holder is None else holder.values_.get(self.name, self.default)

    def __set__(self, holder: Holder, value: T) -> None:
        holder.values_[self.name] = self.fitting(value)


class Text(Scalar[str]):
    """A str.  Octets are taken for UTF-8."""

    default = ""

    def fitting(self, value: Any) -> str:
        return fitting_text(value, self.name)


class Blob(Scalar[bytes]):
    """Octets."""

    default = b""

    def fitting(self, value: Any) -> bytes:
        if not isinstance(value, bytes):
            raise TypeError(f"{self.name} should be bytes, not {type(value).__name__}")
        return bytes(value)


class Flag(Scalar[bool]):
    """True or false."""

    default = False

    def fitting(self, value: Any) -> bool:
        if not isinstance(value, int):
            raise TypeError(f"{self.name} should be a bool, not {type(value).__name__}")
        return bool(value)


def fitting_text(value: Any, name: str) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if not isinstance(value, str):
        raise TypeError(f"{name} should be a str, not {type(value).__name__}")
    value.encode("utf-8")  # fails for a lone surrogate
    return str.__str__(value)  # the text itself, whatever a subclass (an enum's, say) prints


class Repeated(list[T]):
    """The values of a repeated field: a list that lets nothing in that does not fit."""

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def append(self, value: T, /) -> None:
        super().append(self.field.fitting(value))

    def insert(self, index: Any, value: T, /) -> None:
        super().insert(index, self.field.fitting(value))

    def extend(self, values: Iterable[T], /) -> None:
        super().extend([self.field.fitting(value) for value in values])

    def __iadd__(self, values: Iterable[T], /) -> Self:  # type: ignore[misc,override]  # as a list's, said more widely
        self.extend(values)
        return self

    def __setitem__(self, index: Any, value: Any, /) -> None:
        fitting = self.field.fitting
        super().__setitem__(index, [fitting(one) for one in value] if isinstance(index, slice) else fitting(value))

    def MergeFrom(self, values: Iterable[T]) -> None:
        """Append the values of another."""
        self.extend(values)


class Texts(Field):
    """Any number of strs."""

    is_repeated = True

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: Holder, owner: type) -> Repeated[str]: ...
    def __get__(self, holder: Holder | None, owner: type) -> Self | Repeated[str]:
        return self if holder is None else holder.values_.setdefault(self.name, Repeated(self))

    def __set__(self, holder: Holder, value: object) -> None:
        refuse_assignment(self.name)

    def fitting(self, value: Any) -> str:
        return fitting_text(value, self.name)


def refuse_assignment(name: str) -> None:
    """A repeated field is filled, never assigned, in the original."""
    raise AttributeError(f'Assignment not allowed to map, or repeated field "{name}" in protocol message object.')
