"""Renders chat templates, in a process of its own that can be ended: a template may loop, or grow, without end.

Run as a program: a line of JSON in, a line of JSON out. It imports Jinja and nothing of Sensorium.
The environment is that of transformers: the same filters, globals and whitespace.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from typing import Any


def limit(memory: int) -> None:
    """No more than so many bytes of memory, no files, no further processes, where the system can see to that."""
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = (
        ("RLIMIT_AS", memory),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_NOFILE", 16),
    )
    for name, value in wanted:
        if hasattr(resource, name):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(getattr(resource, name), (value, value))


def environment() -> Any:
    """The sandbox that templates are rendered in."""
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what the assistant says; here it is plain text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    class Namespace(jinja2.utils.Namespace):
        """A namespace without names that begin with an underscore."""

        def __init__(*args: Any, **given: Any) -> None:
            self, rest = args[0], args[1:]
            values = dict(*rest, **given)
            for name in values:
                Namespace.check(name)
            jinja2.utils.Namespace.__init__(self, values)

        def __setitem__(self, name: str, value: Any) -> None:
            Namespace.check(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

        @staticmethod
        def check(name: Any) -> None:
            if isinstance(name, str) and name.startswith("_"):
                raise jinja2.exceptions.SecurityError(f"no name in a namespace may begin with an underscore: {name!r}")

    class Dictionary:
        """Makes dictionaries, and has nothing else of the type."""

        def __call__(self, *args: Any, **given: Any) -> dict[Any, Any]:
            return dict(*args, **given)

        def fromkeys(self, *args: Any) -> dict[Any, Any]:
            return dict.fromkeys(*args)

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def tojson(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    found = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    found.filters["tojson"] = tojson
    found.globals["raise_exception"] = refuse
    found.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    found.globals["dict"] = Dictionary()
    found.globals["namespace"] = Namespace
    return found


def answer(sandbox: Any, question: dict[str, Any]) -> dict[str, Any]:
    """Render one template; what it raises is told in a line."""
    try:
        pieces, size = [], 0
        for piece in sandbox.from_string(question["template"]).generate(**question["values"]):
            size += len(piece)
            if size > question["limit"]:
                return {"error": f"it writes more than {question['limit']} characters"}
            pieces.append(piece)
        return {"text": "".join(pieces)}
    except MemoryError:
        return {"error": "it needs too much memory"}
    except Exception as error:  # a template raises whatever it likes
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}


def main() -> None:
    sys.path.append(sys.argv[1])
    sandbox = environment()
    # Imported later, once no file can be opened, it would fail.
    datetime.datetime.now().strftime("%Y")
    sandbox.from_string("{{ [1] | map('string') | join | upper }}{{ [] | tojson }}").render()
    limit(int(sys.argv[2]))
    for line in sys.stdin:
        print(json.dumps(answer(sandbox, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
