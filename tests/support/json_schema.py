"""What of JSON Schema the schemas in `pfedge/schemas` use, checked without a library.

`find_faults(value, schema)` lists every place where a value is not what the schema says; a keyword that is not known
here is a fault of the schema. Where the library `jsonschema` is installed, its verdict must be the same.
"""

from __future__ import annotations

import json

from support.paths import ROOT

FOLDER = ROOT / "pfedge" / "schemas"
KINDS = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))
KNOWN = {
    "$schema", "title", "description", "type", "const", "properties", "required", "additionalProperties", "items",
}  # fmt: skip
TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int,
    "number": (int, float),
}  # fmt: skip


def load_schema(kind):
    return json.loads((FOLDER / f"{kind}.json").read_text())


def find_faults(value, schema, where="$"):
    """Return `place: what is wrong` for each fault."""
    faults = [f"{where}: the schema has an unknown keyword {word}" for word in set(schema) - KNOWN]
    names = schema.get("type", [])
    names = [names] if isinstance(names, str) else names
    if names and not any(_is_of(value, name) for name in names):
        return [*faults, f"{where}: {value!r} is not of type {names}"]
    if "const" in schema and value != schema["const"]:
        faults.append(f"{where}: {value!r} is not {schema['const']!r}")
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        faults += [f"{where}: {name} is missing" for name in schema.get("required", []) if name not in value]
        for name, one in value.items():
            faults += find_faults(one, known.get(name, others), f"{where}.{name}")
    if isinstance(value, list):
        for index, one in enumerate(value):
            faults += find_faults(one, schema.get("items", {}), f"{where}[{index}]")
    return faults


def require_fits(printed, kind):
    """Check one line of JSON that a verb printed, and that its schema names every key."""
    value, schema = json.loads(printed), load_schema(kind)
    assert find_faults(value, schema) == []
    assert set(value) <= set(schema["properties"]), f"{kind} does not name {set(value) - set(schema['properties'])}"
    assert next(iter(value)) == "schema"
    try:
        import jsonschema
    except ImportError:
        return value
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    return value


def _is_of(value, name):
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, TYPES[name])
