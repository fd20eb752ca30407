# SPDX-License-Identifier: MIT
"""Holds what overlayrootctl prints as JSON against docs/schema."""

import functools
import json
import pathlib

import jsonschema

SCHEMAS = pathlib.Path(__file__).resolve().parents[2] / "docs/schema"


@functools.cache
def validators() -> dict[str, jsonschema.Draft202012Validator]:
    """Name of the file to what checks by it."""
    found = {}
    for path in SCHEMAS.glob("*.json"):
        schema = json.loads(path.read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        found[path.stem] = jsonschema.Draft202012Validator(schema)
    return found


def schema_of(printed: dict) -> str:
    """Which schema an object has to fit."""
    command = printed["command"]
    if "error" in printed:
        return "error"
    if command in ("enable", "disable", "size"):
        return "size-now" if "before" in printed else "settings"
    return command


def check(output: str) -> bool:
    """Checks the object in an output, if it has one; what is beside it is standard error."""
    start = 0 if output.startswith("{") else output.find("\n{\n") + 1
    if not output[start:].startswith("{"):
        return False
    printed, _ = json.JSONDecoder().raw_decode(output[start:])
    validators()[schema_of(printed)].validate(printed)
    return True
