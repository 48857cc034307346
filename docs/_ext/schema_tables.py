"""JSON schemas as tables: the policy file, records, settings and the bodies of requests all have one."""

import json
from collections.abc import Mapping
from typing import Any

import pieces

Schema = Mapping[str, Any]


def fields(schema: Schema, defs: Schema, about: Mapping[str, str] | None = None) -> str:
    """Return the fields of an object as a table.

    Args:
        schema: of the object.
        defs: schemas by name, to which `$ref` points.
        about: what fields mean, where the schema does not say.
    """
    about, required = about or {}, schema.get("required", ())
    rows = []
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else _default(field)
        meaning = field.get("description") or about.get(name, "")
        rows.append((f"`{name}`", kind(field, defs), default, meaning))
    return pieces.table(("key", "type", "default", "meaning"), rows)


def kind(schema: Schema, defs: Schema) -> str:
    """Return a schema's type in words: names of values, bounds of numbers, what lists and tables hold."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return kind(defs[name], defs) if "enum" in defs[name] else f"`{name}`"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    for way in ("anyOf", "oneOf"):
        if way in schema:
            kinds = [kind(one, defs) for one in schema[way]]
            return " or ".join(dict.fromkeys(one for one in kinds if one != "null")) + (
                ", or nothing" if "null" in kinds else ""
            )
    if "allOf" in schema:
        return kind(schema["allOf"][0], defs)
    return _plain(schema, defs)


def _plain(schema: Schema, defs: Schema) -> str:
    what = schema.get("type", "anything")
    if what == "array":
        return f"list of {kind(schema.get('items', {}), defs)}"
    if what == "object":
        values = schema.get("additionalProperties")
        return f"table of {kind(values, defs)}" if isinstance(values, dict) and values else "table"
    bounds = [("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("maxLength", "at most")]
    told = [f"{words} {schema[key]}" for key, words in bounds if key in schema]
    return f"{what} ({', '.join(told)})" if told else what


def _default(field: Schema) -> str:
    default = field.get("default")
    if isinstance(default, dict | list):
        return f"`{json.dumps(default)}`" if not default else "see there"
    return "" if default is None else f"`{json.dumps(default)}`"
