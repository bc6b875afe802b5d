"""The forms of single values in the routes file: what each needs, an example, and how an editor checks it (pure).

Invariant: a form's message says what is needed and gives an example. It never repeats the value, which may come from
a variable.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, field_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from tsync_stream.routes.declaration import OnChange as Change
from tsync_stream.settings import addresses, forms

NOT_VALID = "not_valid"  # the type of our errors among Pydantic's
EMPTY = "it is empty; leave the key out where nothing is meant"
KEPT_NAMES = frozenset({"_id", "id"})


def _anything(_value: Any) -> str:
    return ""


class Part(BaseModel):
    """What all parts have in common: an unknown key is a problem, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty(cls, value: Any) -> Any:
        if value is None:
            raise PydanticCustomError(NOT_VALID, "{why}", {"why": EMPTY})
        return value


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """A form. `needs` completes "it needs …"; `reason` returns "" for a value that fits, or why not ("?": no reason).

    `schema` is added to the JSON Schema of the value.
    """

    needs: str
    example: Any
    kind: type | tuple[type, ...] = str
    reason: Callable[[Any], str] = _anything
    schema: Mapping[str, Any] = field(default_factory=dict)

    def check(self, value: Any) -> Any:
        """The value. Raises what Pydantic takes for a problem of the value."""
        if not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool):
            why = "?"
        else:
            why = self.reason(value)
        if why:
            raise PydanticCustomError(NOT_VALID, "{why}", {"why": why, "needs": self.needs, "example": self.example})
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), **self.schema, "examples": [self.example]}


def _refused_by(form: forms.Form[Any]) -> Callable[[str], str]:
    def reason(text: str) -> str:
        try:
            form.parse(text)
        except ValueError as error:
            return str(error) or "?"
        return ""

    return reason


def _source(text: str) -> str:
    database, dot, collection = text.partition(".")
    if not (dot and database and collection):
        return "a database and a collection, joined by a dot"
    if len(text.encode()) > 255:
        return "MongoDB allows 255 bytes"
    for form, part in ((addresses.MONGODB_DATABASE, database), (addresses.MONGODB_COLLECTION, collection)):
        if why := _refused_by(form)(part):
            return why
    return ""


def field_reason(text: str) -> str:
    """Why this cannot be the path of a field; "" if it can."""
    if "\x00" in text or any(not part for part in text.split(".")):
        return "a name, or names joined by dots, without empty ones"
    if any(part.startswith("$") for part in text.split(".")):
        return "a name in MongoDB does not begin with $ here"
    return ""


def _field_but_id(text: str) -> str:
    return "`_id` is always there, as `id` in Typesense: leave it out" if text == "_id" else field_reason(text)


def _new_name(text: str) -> str:
    if text in KEPT_NAMES:
        return "`id` is the key of a document, which a route cannot change"
    if "." in text:
        return "a name at the top level, without dots; a stage of `pipeline` can reach further"
    if text != text.strip() or text.startswith("*") or text in {".flat", ".ref"}:
        return "Typesense would misread it"
    return field_reason(text)


def _top_field(text: str) -> str:
    return "a name at the top level, without dots: objects are shown whole" if "." in text else field_reason(text)


def _distinct(check: Callable[[str], str]) -> Callable[[list[Any]], str]:
    def reason(items: list[Any]) -> str:
        if not items:
            return EMPTY
        texts = [item for item in items if isinstance(item, str) and not check(item)]
        for at, path in enumerate(texts):
            for other in texts[:at]:
                if path == other:
                    return "one of its names is there twice"
                if path.startswith(f"{other}.") or other.startswith(f"{path}."):
                    return "one of its paths contains another, and MongoDB allows only one of the two"
        return ""

    return reason


def _transform(text: str) -> str:
    if re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", text) is None:
        return "?"
    return ""


DATE_FORMS: Mapping[str, str] = {"s": "date_s", "ms": "date_ms"}
PLAIN_FORMS = ("float", "int32", "int64", "string", "bool")


def _type(value: Any) -> str:
    if isinstance(value, str):
        return "" if value in PLAIN_FORMS else "?"
    return "" if list(value) == ["date"] and value["date"] in DATE_FORMS else "?"


TOP = {"pattern": r"^[^.]+$"}

Source: TypeAlias = Annotated[
    str,
    Needs(
        "a database and a collection, as `database.collection`",
        "shop.products",
        reason=_source,
        schema={"pattern": r"^.+\..+$"},
    ),
]
Target: TypeAlias = Annotated[
    str,
    Needs(
        "the name of a Typesense collection or alias, without spaces or slashes",
        "products",
        reason=_refused_by(addresses.TYPESENSE_COLLECTION),
        schema={"pattern": r"^[^\s/]+$"},
    ),
]
Collection: TypeAlias = Annotated[
    str,
    Needs(
        "the name of a collection in the database of the source",
        "sellers",
        reason=_refused_by(addresses.MONGODB_COLLECTION),
    ),
]
FieldPath: TypeAlias = Annotated[
    str, Needs("the name of a field, with dots for fields of objects", "seller_id", reason=field_reason)
]
ShownPath: TypeAlias = Annotated[
    str, Needs("the name of a field, with dots for fields of objects", "price", reason=_field_but_id)
]
NewName: TypeAlias = Annotated[
    str,
    Needs("a name at the top level of the document", "seller", reason=_new_name, schema=TOP),
]
OldName: TypeAlias = Annotated[
    str, Needs("the name of a field at the top level of the document", "created_at", reason=_new_name)
]
FieldPaths: TypeAlias = Annotated[
    list[FieldPath],
    Needs("a list of field names", ["name", "rating"], list, _distinct(field_reason), {"minItems": 1}),
]
TopFields: TypeAlias = Annotated[
    list[Annotated[str, Needs("the name of a field at the top level", "name", reason=_top_field, schema=TOP)]],
    Needs("a list of field names", ["name", "rating"], list, _distinct(_top_field), {"minItems": 1}),
]
ShownPaths: TypeAlias = Annotated[
    list[ShownPath],
    Needs("a list of field names", ["title", "price", "seller"], list, _distinct(_field_but_id), {"minItems": 1}),
]
Transform: TypeAlias = Annotated[
    str,
    Needs(
        "a Python function, as `module:function`",
        "shop.search:product",
        reason=_transform,
        schema={"pattern": r"^[^:\s]+:[^:\s]+$"},
    ),
]
TypeForm: TypeAlias = Annotated[
    str | dict[str, str],
    Needs(
        f"one of {', '.join(PLAIN_FORMS)}, {{date: s}}, {{date: ms}}",
        {"date": "ms"},
        (str, dict),
        _type,
    ),
]
OnChange: TypeAlias = Annotated[
    Change,
    Needs(
        f"`{'` or `'.join(get_args(Change))}`", "reindex", str, lambda given: "" if given in get_args(Change) else "?"
    ),
]
Flag: TypeAlias = Annotated[bool, Needs("true or false", True, bool)]
