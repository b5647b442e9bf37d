"""Types as JSON Schema: the options and results of a task, checked in requests and told in OpenAPI."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sensorium import tasks
from sensorium.serving.limits import Limits, Rejection
from sensorium.version import __version__

Schema = dict[str, Any]

_SIMPLE: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    type(None): {"type": "null"},
    np.ndarray: {"type": "array"},
}
_LISTS = (list, tuple, collections.abc.Sequence, collections.abc.Iterable, set, frozenset)
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:\.\.|…)\s*(-?\d+(?:\.\d+)?)")
_EXACT = 2**53  # integers beyond it do not survive JSON readers that use doubles


def of_type(hint: Any, within: tuple[type, ...] = ()) -> Schema:
    """The JSON Schema of what `tasks.to_json` makes of a value of this type; `{}` where it is not known."""
    if hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [of_type(a, within) for a in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin is tuple and Ellipsis not in arguments:
        items = [of_type(a, within) for a in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin in _LISTS or hint in _LISTS:
        inner = of_type(arguments[0], within) if arguments else {}
        return {"type": "array", **({"items": inner} if inner else {})}
    if origin in (dict, collections.abc.Mapping) or hint in (dict, collections.abc.Mapping):
        inner = of_type(arguments[1], within) if arguments else {}
        return {"type": "object", **({"additionalProperties": inner} if inner else {})}
    if isinstance(hint, type) and issubclass(hint, Image.Image):
        return {"type": "string", "format": "uri", "description": "a picture, as a PNG data URL"}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint not in within:
        hints = _hints(hint)
        fields = {f.name: of_type(hints.get(f.name), (*within, hint)) for f in dataclasses.fields(hint) if f.repr}
        return {"type": "object", "title": hint.__name__, "properties": fields, "required": list(fields)}
    return {}


def _hints(thing: Any) -> dict[str, Any]:
    """The type hints, as far as they can be resolved."""
    try:
        return typing.get_type_hints(thing)
    except (NameError, TypeError, AttributeError):
        return {}


def _answering(task: Any) -> Any:
    kind: Any = task if isinstance(task, type) else type(task)
    return getattr(kind, "predict", None) or kind.decode


def of_options(task: Any) -> dict[str, Schema]:
    """A schema for each option of a task. A range in its help ("0..1") gives the least and largest value."""
    kind = task if isinstance(task, type) else type(task)
    hints = _hints(_answering(kind))
    schemas = {}
    for option in tasks.options(kind):
        schema = of_type(hints.get(option.name))
        if found := _RANGE.search(option.help):
            for one in schema.get("anyOf", [schema]):
                if one.get("type") in ("number", "integer"):
                    number = int if one["type"] == "integer" else float
                    one |= {"minimum": number(found[1]), "maximum": number(found[2])}
        default = {} if option.default is inspect.Parameter.empty else {"default": tasks.to_json(option.default)}
        help = {"description": option.help} if option.help else {}
        schemas[option.name] = {**schema, **default, **help}
    return schemas


def of_result(task: Any) -> Schema:
    """The schema of the answer to one example: what `decode` (or one of what `predict`) returns."""
    function = _answering(task)
    hint = _hints(function).get("return")
    if function.__name__ == "predict":  # answers a list of examples
        inner = typing.get_args(hint)
        hint = inner[0] if inner else None
    return of_type(hint)


def check(value: Any, schema: Schema, name: str) -> Any:
    """The value, if it is of this schema (the part of JSON Schema that `of_type` makes).

    Raises:
        Rejection: it is not.
    """
    if "anyOf" in schema:
        for one in schema["anyOf"]:
            try:
                return check(value, one, name)
            except Rejection:
                continue
        raise Rejection(400, f"parameter '{name}' has the wrong type")
    if "enum" in schema:
        if value not in schema["enum"]:
            raise Rejection(400, f"parameter '{name}' must be one of {json.dumps(schema['enum'])}")
        return value
    kind = schema.get("type")
    if kind == "number" and type(value) is int and abs(value) <= _EXACT:
        value = float(value)
    right = {
        None: True,
        "null": value is None,
        "boolean": isinstance(value, bool),
        "integer": type(value) is int and abs(value) <= _EXACT,
        "number": type(value) is float and math.isfinite(value),
        "string": isinstance(value, str),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[kind]
    if not right:
        article = "an" if str(kind)[0] in "aio" else "a"
        raise Rejection(400, f"parameter '{name}' must be {article} {kind}")
    if kind in ("number", "integer") and "minimum" in schema:
        least, most = schema["minimum"], schema["maximum"]
        if not least <= value <= most:
            raise Rejection(400, f"parameter '{name}' must lie in {least}..{most}")
    if kind == "array" and "prefixItems" in schema:
        if len(value) != len(schema["prefixItems"]):
            raise Rejection(400, f"parameter '{name}' must have {len(schema['prefixItems'])} values")
        return [check(v, s, name) for v, s in zip(value, schema["prefixItems"], strict=True)]
    if kind == "array" and "items" in schema:
        return [check(v, schema["items"], name) for v in value]
    if kind == "object" and "additionalProperties" in schema:
        return {k: check(v, schema["additionalProperties"], name) for k, v in value.items()}
    return value


def from_text(text: str, schema: Schema) -> Any:
    """A value given as text (in a query or a form), by its schema: text, or else JSON."""
    kinds = [s.get("type") for s in schema.get("anyOf", [schema])]
    try:
        value = json.loads(text) if len(text) < 10_000 else text
    except (ValueError, RecursionError):
        return text
    if "string" in kinds or "enum" in schema:
        return text if value is not None or "null" not in kinds else None
    return value


def parameters(given: Mapping[str, Any], schemas: Mapping[str, Schema], texts: bool = False) -> dict[str, Any]:
    """The options of a request, checked; null stands for the default.

    Raises:
        Rejection: an unknown name or a wrong value.
    """
    values = {}
    for name, value in given.items():
        if name not in schemas:
            known = ", ".join(schemas) or "none"
            raise Rejection(400, f"unknown parameter: this model knows {known}")
        if texts:
            value = from_text(value, schemas[name])
        if value is not None:
            values[name] = check(value, schemas[name], name)
    return values


_SOURCES: dict[str, Schema] = {
    "text": {"type": "string", "description": "the text"},
    "file": {"type": "string", "description": "base64 or a data URL"},
}


def of_source(fields: Sequence[str], texts: frozenset[str]) -> Schema:
    """The schema of one example's input: of one field, or an object of several."""
    if len(fields) > 1:
        return {"type": "object", "properties": {name: of_source([name], texts) for name in fields}}
    field = fields[0]
    if field == "frames":
        return {
            "description": "a video, or the pictures of one sequence; each as base64 or a data URL",
            "anyOf": [_SOURCES["file"], {"type": "array", "items": _SOURCES["file"]}],
        }
    if field in texts:
        return dict(_SOURCES["text"])
    return {"anyOf": [_SOURCES["file"], {"type": "object"}, {"type": "array"}, {"type": "number"}]}


_MEDIA = {"image": "image/*", "audio": "audio/*", "frames": "video/*"}


def openapi(models: Mapping[str, Any], texts: frozenset[str], limits: Limits) -> Schema:
    """The OpenAPI 3.1 document of these models (name -> task): one set of schemas for each task."""
    error = {"$ref": "#/components/responses/Error"}
    schemas: Schema = {
        "Error": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
    }
    paths: Schema = {}
    for name, task in models.items():
        stem = "".join(part.capitalize() for part in task.name.split("-"))
        one = {"$ref": f"#/components/schemas/{stem}Result"}
        source = of_source(tasks.parts(task), texts)
        schemas[f"{stem}Result"] = of_result(task) or {"description": "any JSON"}
        schemas[f"{stem}Parameters"] = {
            "type": "object",
            "properties": of_options(task),
            "additionalProperties": False,
        }
        schemas[f"{stem}Request"] = {
            "type": "object",
            "properties": {
                "inputs": {
                    "description": "one example, or a list of several",
                    "anyOf": [source, {"type": "array", "items": source, "maxItems": limits.inputs}],
                },
                "parameters": {"$ref": f"#/components/schemas/{stem}Parameters"},
            },
            "required": ["inputs"],
            "additionalProperties": False,
        }
        content: Schema = {"application/json": {"schema": {"$ref": f"#/components/schemas/{stem}Request"}}}
        if task.source in texts:
            content["text/plain"] = {"schema": {"type": "string"}}
        else:
            content[_MEDIA.get(task.source, "application/octet-stream")] = {"schema": {}}
        content["multipart/form-data"] = {
            "schema": {"type": "object", "properties": {"inputs": {}, "parameters": {"type": "string"}}}
        }
        several = {"type": "array", "items": {"anyOf": [one, {"$ref": "#/components/schemas/Error"}]}}
        paths[f"/v1/models/{name}:predict"] = {
            "post": {
                "operationId": f"predict_{name}",
                "summary": f"{task.name} with the model {name}",
                "requestBody": {"required": True, "content": content},
                "responses": {
                    "200": {
                        "description": "the answer; for several examples a list, where one that failed is an error",
                        "content": {"application/json": {"schema": {"anyOf": [one, several]}}},
                    },
                    **{str(code): error for code in (400, 401, 403, 408, 413, 415, 422, 429, 503, 504)},
                },
            }
        }
    answer = {"200": {"description": "JSON", "content": {"application/json": {"schema": {}}}}}
    paths["/v1/models"] = {"get": {"summary": "the models served", "responses": answer}}
    paths["/v1/models/{name}"] = {
        "get": {
            "summary": "one model: task, labels, options, metrics",
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {**answer, "404": error},
        }
    }
    for path, summary in (
        ("/v2/health/live", "whether the process answers"),
        ("/v2/health/ready", "whether every model answered a real example and can take requests"),
    ):
        paths[path] = {"get": {"summary": summary, "responses": {**answer, "503": error}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sensorium", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {
                "Error": {
                    "description": "what was wrong",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
        },
    }
