"""Records that behave as messages of a protocol buffer (proto2) do, without that library.

A record knows which of its fields are set (`HasField`), is equal to a record or a real protocol buffer with the same fields,
takes either's fields over (`CopyFrom`), and reads and writes the same octets.  `protocol` declares the records of the mail
service. Must never import the library it stands in for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

from . import wire
from .fields import Field, Holder, Repeated, refuse_assignment

__all__ = ["Record", "Records", "RepeatedRecords"]

R = TypeVar("R", bound="Record")


class Record:
    """A message with fields, which keywords set: `MailHeader(name="References", value="<a@b>")`."""

    __slots__ = ("values_",)
    fields_: ClassVar[dict[str, Field]] = {}
    values_: dict[str, Any]  # by field; a repeated one may be there and empty

    def __init_subclass__(cls) -> None:
        cls.fields_ = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}

    def __init__(self, **fields: Any) -> None:
        object.__setattr__(self, "values_", {})
        for name, value in fields.items():
            if value is None:
                continue
            if self._field(name).is_repeated:
                getattr(self, name).extend(value)
            else:
                setattr(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self.fields_:
            raise AttributeError(f'Protocol message {type(self).__name__} has no "{name}" field.')
        super().__setattr__(name, value)

    def HasField(self, field_name: str) -> bool:
        """Whether a field of one value was set, be it to its default.  ValueError for a repeated or an unknown field."""
        if self._field(field_name).is_repeated:
            raise ValueError(f"Field google.appengine.{type(self).__name__}.{field_name} does not have presence.")
        return field_name in self.values_

    def ClearField(self, field_name: str) -> None:
        """Unset a field.  ValueError for an unknown one."""
        self.values_.pop(self._field(field_name).name, None)

    def Clear(self) -> None:
        """Unset every field."""
        self.values_.clear()

    def ListFields(self) -> list[tuple[Field, Any]]:
        """The fields that are set and not empty, with their values, by number."""
        found = [(field, self.values_[name]) for name, field in self.fields_.items() if name in self.values_]
        return sorted(
            ((field, value) for field, value in found if value or not field.is_repeated), key=lambda one: one[0].number
        )

    def CopyFrom(self, other: Any) -> None:
        """Become equal to another record, or protocol buffer, of this kind.  TypeError for anything else."""
        if other is not self:
            copied = _like(type(self), other)
            object.__setattr__(self, "values_", copied.values_)

    def MergeFrom(self, other: Any) -> None:
        """Take over what is set in another record, or protocol buffer, of this kind; repeated fields are appended."""
        self.MergeFromString(_like(type(self), other).SerializePartialToString())

    def FindInitializationErrors(self) -> list[str]:
        """The required fields that are not set, with those of inner records as `Attachment[0].Data`."""
        missing = [name for name, field in self.fields_.items() if field.is_required and name not in self.values_]
        for field, value in self.ListFields():
            inner = enumerate(list[Record](value) if isinstance(field, Records) else [])
            missing += [
                f"{field.name}[{place}].{name}" for place, record in inner for name in record.FindInitializationErrors()
            ]
        return missing

    def IsInitialized(self, errors: list[str] | None = None) -> bool:
        """Whether every required field is set.  errors: gets the names of those that are not."""
        missing = self.FindInitializationErrors()
        if errors is not None:
            errors.extend(missing)
        return not missing

    def SerializePartialToString(self) -> bytes:
        """The octets of the record, whether or not it is complete."""
        return wire.encoded((field.number, value) for field, value in self.ListFields())

    def SerializeToString(self) -> bytes:
        """The octets of the record.  ValueError if a required field is not set."""
        if missing := self.FindInitializationErrors():
            raise ValueError(f"Message {type(self).__name__} is missing required fields: {','.join(missing)}")
        return self.SerializePartialToString()

    def ByteSize(self) -> int:
        """The number of octets that `SerializeToString` gives."""
        return len(self.SerializePartialToString())

    def MergeFromString(self, serialized: bytes) -> int:
        """Take over what octets say; unknown fields are skipped.  Returns their number.  ValueError if they are damaged."""
        by_number = {field.number: field for field in self.fields_.values()}
        for number, value in wire.decoded(serialized):
            field = by_number.get(number)
            if field is None:
                continue
            if isinstance(field, Records):
                getattr(self, field.name).add().MergeFromString(value)
            elif field.is_repeated:
                getattr(self, field.name).append(value)
            else:
                setattr(self, field.name, value)
        return len(serialized)

    def ParseFromString(self, serialized: bytes) -> int:
        """Become what octets say."""
        self.Clear()
        return self.MergeFromString(serialized)

    @classmethod
    def FromString(cls, serialized: bytes) -> Self:
        """The record that octets say."""
        record = cls()
        record.MergeFromString(serialized)
        return record

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            try:
                other = _like(type(self), other)
            except (TypeError, AttributeError):
                return NotImplemented
        return self.ListFields() == other.ListFields()

    __hash__ = None  # type: ignore[assignment]  # it changes, as the original's

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return type(self).FromString, (self.SerializePartialToString(),)

    def __repr__(self) -> str:
        return "".join(
            f"{field.name} {{\n{_indented(repr(one))}}}\n"
            if isinstance(one, Record)
            else f"{field.name}: {_shown(one)}\n"
            for field, value in self.ListFields()
            for one in (value if field.is_repeated else [value])
        )

    def _field(self, name: str) -> Field:
        if name not in self.fields_:
            raise ValueError(f'Protocol message {type(self).__name__} has no "{name}" field.')
        return self.fields_[name]


class RepeatedRecords(Repeated[R]):
    """The records of a repeated field.  What is appended is copied."""

    def __init__(self, field: Records[R]) -> None:
        super().__init__(field)
        self.kind = field.kind

    def add(self, **fields: Any) -> R:
        """A new record at the end, with these fields."""
        record = self.kind(**fields)
        list[R].append(self, record)
        return record


class Records(Field, Generic[R]):
    """Any number of records."""

    is_repeated = True

    def __init__(self, number: int, kind: type[R]) -> None:
        super().__init__(number)
        self.kind = kind

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: Holder, owner: type) -> RepeatedRecords[R]: ...
    def __get__(self, holder: Holder | None, owner: type) -> Self | RepeatedRecords[R]:
        return self if holder is None else holder.values_.setdefault(self.name, RepeatedRecords(self))

    def __set__(self, holder: Holder, value: object) -> None:
        refuse_assignment(self.name)

    def fitting(self, value: Any) -> R:
        return _like(self.kind, value)


def _like(kind: type[R], other: Any) -> R:
    """A copy of a record, or of a protocol buffer with the same name.  TypeError for anything else."""
    if type(other).__name__ != kind.__name__ or not hasattr(other, "HasField"):
        raise TypeError(f"a {kind.__name__} is needed, not {type(other).__name__}")
    copy = kind()
    for name, field in kind.fields_.items():
        if field.is_repeated:
            values: Iterable[Any] = getattr(other, name)
            getattr(copy, name).extend(values)
        elif other.HasField(name):
            setattr(copy, name, getattr(other, name))
    return copy


def _shown(value: str | bytes | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else value.decode("latin-1")
    return '"' + "".join(_escaped(one, is_text=isinstance(value, str)) for one in text) + '"'


def _escaped(character: str, *, is_text: bool) -> str:
    named = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "'": "\\'", "\\": "\\\\"}
    is_printable = " " <= character < "\x7f" or (is_text and character > "\x7f")
    return named.get(character) or (character if is_printable else f"\\{ord(character):03o}")


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
