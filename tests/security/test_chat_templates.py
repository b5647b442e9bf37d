"""Chat templates are programs of strangers: none of them leaves its sandbox, none of them holds up the process.

Escapes as in CVE-2024-34359 and CVE-2024-56326; floods of time, memory and output; a template in the request.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from sensorium.errors import InputError
from sensorium.media import chat

pytest.importorskip("jinja2")

CHAT = [{"role": "user", "content": "hello"}]

ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch MARK').read() }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ dict.__class__.__base__ }}",
    "{{ lipsum.__globals__['os'].system('touch MARK') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ messages | attr('__class__') }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ ('x' | attr('format'))('{0.__class__.__mro__}') }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "{{ '%s' | format(messages.append) }}{{ messages.append({}) }}",
    "{% set f = '{0.__class__}'.format %}{{ f(1) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{% set n = namespace() %}{% set n.__class__ = 1 %}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['sys'] }}",
    "{{ tojson.__globals__ }}",
    "{{ (messages | tojson).__class__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{% extends '/etc/passwd' %}",
    "{{ [].__reduce_ex__(2) }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ (1).__class__.__bases__[0].__subclasses__() }}",
    "{{ caller.__code__ }}",
    "{{ config }}{{ request.application.__globals__ }}",
]

FLOODS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 10 ** (10 ** 9) }}",
    "{{ 'a' * 10 ** 10 }}",
    "{{ 'a' | center(10 ** 10) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ [0] * 10 ** 10 }}",
    "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "{{ range(10 ** 9) | list }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ 'x' | indent(10 ** 9) }}",
    "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "{{ lipsum(100000) }}",
]


def rendered(template: str, **given: Any) -> str:
    return chat.render({"default": template}, CHAT, {"bos_token": "<s>"}, **given)


@pytest.mark.parametrize("template", ESCAPES)
def test_no_way_out_of_the_sandbox(template: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = ""
    with contextlib.suppress(InputError):
        text = rendered(template.replace("MARK", str(mark)))
    # What is unknown is empty in Jinja.
    assert not any(word in text for word in ("class", "module", "root:", "function", "method", "code"))
    assert not mark.exists()


@pytest.mark.parametrize("template", FLOODS)
def test_no_flood(template: str) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="the chat template fails"):
        rendered(template)
    assert time.monotonic() - start < 20 * chat.SECONDS  # a machine that is busy is given time
    assert rendered("{{ messages[0].content }}") == "hello"


def test_the_worker_has_limits() -> None:
    pytest.importorskip("resource")
    assert rendered("{{ 'a' * 900000 }}") == "a" * 900000
    with pytest.raises(InputError, match="more than 1000000 characters"):
        rendered("{{ 'a' * 1100000 }}")


@pytest.mark.parametrize("further", [{"chat_template": "x"}, {"messages": []}, {"tools": []}, {"template": ""}])
def test_a_caller_brings_no_template(further: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="of the caller's"):
        rendered("{{ messages[0].content }}", further=further)


def test_a_request_has_no_option_for_a_template() -> None:
    from sensorium import tasks

    assert "chat_template" not in {option.name for option in tasks.options(tasks.find("text-generation"))}


@pytest.mark.parametrize(
    "messages",
    [[], "hi", [{"content": "no role"}], [{"role": 3, "content": "x"}], ["x"], {"role": "user"}, None],
)
def test_messages_are_checked(messages: Any) -> None:
    with pytest.raises(InputError):
        chat.messages_of(messages)


def test_objects_do_not_reach_a_template() -> None:
    with pytest.raises(InputError, match="texts, numbers, lists and objects only"):
        chat.render({"default": "{{ messages }}"}, [{"role": "user", "content": object()}], {})


def test_a_template_that_is_no_text() -> None:
    for wrong in (3, ["x", 4], {"default": 7}, "x" * 1_000_001):
        with pytest.raises((InputError, TypeError)):
            chat.render(chat.template_of({}, {"chat_template": wrong}), CHAT, {})
