from __future__ import annotations

from typing import Any

import pytest

from sensorium.errors import InputError
from sensorium.media import chat

pytest.importorskip("jinja2")

PLAIN = (
    "{{ bos_token }}{% for m in messages %}\n"
    "    {%- if m.role == 'system' %}{{ '[' ~ m.content | trim ~ ']' }}\n"
    "    {%- else %}{{ m.role }}: {{ m.content }}{% endif %}\n"
    "{% endfor %}\n"
    "{% if add_generation_prompt %}{% generation %}assistant:{% endgeneration %}{% endif %}"
)
TOOLS = (
    "{% set ns = namespace(n=0) %}{% for t in tools or [] %}{% set ns.n = ns.n + 1 %}{{ t | tojson(indent=2) }}"
    "{% if loop.index > 1 %}{% break %}{% endif %}{% endfor %}{{ ns.n }}{{ dict(a=1) }}"
    "{% if messages[0].content is not string %}{{ messages[0].content[0].text }}{% endif %}"
    "{% if enable_thinking is defined and not enable_thinking %}no thoughts{% endif %}"
    "{{ messages[-1].reasoning_content }}"
)
MESSAGES = [
    {"role": "system", "content": " be kind "},
    {"role": "user", "content": "<b>hallo</b> & 東京"},
    {"role": "assistant", "content": "one", "thinking": "hm"},
]


@pytest.mark.parametrize("template", [PLAIN, TOOLS])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"add_generation_prompt": True},
        {"tools": [{"type": "function", "function": {"name": "f<", "parameters": {"ü": 1}}}] * 3},
        {"enable_thinking": False},
    ],
    ids=str,
)
def test_it_is_what_transformers_renders(template: str, given: dict[str, Any]) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    special = {"bos_token": "<s>"}
    theirs, _ = utils.render_jinja_template([MESSAGES], chat_template=template, **given, **special)
    known = {name: value for name, value in given.items() if name != "enable_thinking"}
    further = {"enable_thinking": False} if "enable_thinking" in given else None
    assert chat.render({"default": template}, MESSAGES, special, **known, further=further) == theirs[0]


def test_going_on_from_the_last_message() -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    for template in (PLAIN, PLAIN.replace("m.content }}{% endif", "m.content | trim }}</s>{% endif")):
        theirs, _ = utils.render_jinja_template(
            [MESSAGES], chat_template=template, continue_final_message=True, bos_token="<s>"
        )
        ours = chat.render({"default": template}, MESSAGES, {"bos_token": "<s>"}, continue_final_message=True)
        assert ours == theirs[0]
        assert ours.endswith("one")
    with pytest.raises(InputError, match="leaves out the end"):
        chat.render({"default": "nothing"}, MESSAGES, {}, continue_final_message=True)


def test_where_templates_stand() -> None:
    assert chat.template_of({}, {}) == {}
    assert chat.template_of({"chat_template.jinja": "a"}, {"chat_template": "b"}) == {"default": "a"}
    assert chat.template_of({"chat_template.json": {"chat_template": "c"}}, {}) == {"default": "c"}
    named = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    found = chat.template_of({}, {"chat_template": named})
    assert found == {"default": "d", "tool_use": "t"}
    assert chat.render(found, MESSAGES, {}) == "d"
    assert chat.render(found, MESSAGES, {}, tools=[{}]) == "t"
    with pytest.raises(InputError, match="no chat template"):
        chat.render({}, MESSAGES, {})


def test_what_a_template_says_is_told() -> None:
    with pytest.raises(InputError, match="only users may speak"):
        chat.render({"default": "{{ raise_exception('only users may speak') }}"}, MESSAGES, {})
    with pytest.raises(InputError, match="TemplateSyntaxError"):
        chat.render({"default": "{% if %}"}, MESSAGES, {})
