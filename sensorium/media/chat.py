"""Chat templates: messages to the text that a model goes on from.

A template is a program from the model folder. It runs in Jinja's sandbox, in a process of its own that is ended when it
takes too long, with limits on its memory and on what it writes; it sees JSON values only.
"""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sensorium.errors import InputError, need

SECONDS = 1.0
MEMORY = 512 << 20
CHARACTERS = 1_000_000
TEMPLATE_CHARACTERS = 1_000_000
OWN = ("messages", "tools", "documents", "add_generation_prompt", "template", "chat_template")
MARK = "CONTINUE_FINAL_MESSAGE_TAG "
THOUGHTS = ("reasoning_content", "thinking", "reasoning")


def template_of(files: Mapping[str, Any], tokenizer_config: Mapping[str, Any]) -> dict[str, str]:
    """The chat templates of a model folder by name (`default`, `tool_use`); empty where it has none.

    Raises:
        InputError: they are no texts, or too long.
    """
    found = files.get("chat_template.jinja")
    if found is None:
        found = (files.get("chat_template.json") or {}).get("chat_template", tokenizer_config.get("chat_template"))
    if found is None:
        return {}
    if isinstance(found, list):
        found = {one["name"]: one["template"] for one in found if isinstance(one, dict) and len(one) == 2}
    templates: dict[str, str] = found if isinstance(found, dict) else {"default": found}
    for template in templates.values():
        if not isinstance(template, str) or len(template) > TEMPLATE_CHARACTERS:
            raise InputError(f"the chat template is no text of up to {TEMPLATE_CHARACTERS} characters")
    return templates


def messages_of(source: Any) -> list[dict[str, Any]]:
    """Messages as they are given, checked.

    Raises:
        InputError: not a list of messages with a role each.
    """
    if not isinstance(source, Sequence) or isinstance(source, (str, bytes)) or not source:
        raise InputError("a chat is a list of messages, each with 'role' and 'content'")
    found = []
    for message in source:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise InputError("a message is an object with 'role' and 'content'")
        found.append({str(name): value for name, value in message.items() if value is not None})
    return found


def render(
    templates: Mapping[str, str],
    messages: Sequence[Mapping[str, Any]],
    special: Mapping[str, str],
    *,
    tools: Sequence[Any] | None = None,
    documents: Sequence[Any] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    further: Mapping[str, Any] | None = None,
) -> str:
    """The text of a chat, as `apply_chat_template` of transformers makes it.

    Args:
        templates: by name, from `template_of`.
        special: the tokenizer's special tokens by role, which templates use.
        add_generation_prompt: end with what the assistant's answer begins with.
        continue_final_message: end within the last message.
        further: what else the template may ask for, such as `enable_thinking`.

    Raises:
        InputError: the template fails, takes too long or too much, or there is none.
        MissingError: Jinja is not installed.
    """
    name = "tool_use" if tools and "tool_use" in templates else "default"
    if name not in templates:
        raise InputError("this model has no chat template: it takes plain text only")
    if taken := [key for key in further or {} if key in OWN]:
        raise InputError(f"a chat template takes no '{taken[0]}' of the caller's")
    chat = [_thoughts(dict(message)) for message in messages]
    final = chat[-1].get("content", "")
    if continue_final_message:
        if not isinstance(final, str):
            raise InputError("the last message has no text to go on from")
        chat[-1]["content"] = final + MARK
    values = {
        **special,
        **(further or {}),
        "messages": chat,
        "tools": list(tools) if tools is not None else None,
        "documents": list(documents) if documents is not None else None,
        "add_generation_prompt": add_generation_prompt,
    }
    try:
        question = json.dumps({"template": templates[name], "values": values, "limit": CHARACTERS})
    except (TypeError, ValueError, RecursionError):
        raise InputError("a chat has texts, numbers, lists and objects only") from None
    found = WORKER.ask(question)
    if "error" in found:
        raise InputError(f"the chat template fails: {found['error']}")
    text = str(found["text"])
    if continue_final_message:
        at = text.rfind(MARK.strip())
        if at < 0:
            raise InputError("the chat template leaves out the end of the last message: nothing can go on from it")
        text = text[:at] if text[at:].startswith(MARK) else text[:at].rstrip()
    return text


def _thoughts(message: dict[str, Any]) -> dict[str, Any]:
    """What was thought goes by several names."""
    thought = next((message[name] for name in THOUGHTS if message.get(name) is not None), None)
    return message if thought is None else {"thinking": thought, **message, "reasoning_content": thought}


class Worker:
    """The process that renders; it starts with the first question, and anew after one that it failed at."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._owner = 0

    def ask(self, question: str) -> dict[str, Any]:
        """The answer to one question; `error` where it took too long.

        Raises:
            MissingError: Jinja is not installed.
        """
        place = Path(str(need("jinja2", "chat").__file__)).parents[1]
        with self._lock:
            if self._owner != os.getpid():  # after a fork, it is the parent's
                self._process = None
            if self._process is None or self._process.poll() is not None:
                self._start(place)
            assert self._process is not None
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(question + "\n")
                self._process.stdin.flush()
                line = self._answers.get(timeout=SECONDS)
            except (queue.Empty, OSError):
                line = ""
            if not line:
                self.stop()
                return {"error": f"it takes more than {SECONDS:g} s, or too much memory"}
        found: dict[str, Any] = json.loads(line)
        return found

    def _start(self, place: Path) -> None:
        program = Path(__file__).with_name("chat_worker.py")
        command = [sys.executable, "-I", str(program), str(place), str(MEMORY)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._answers, self._owner = process, queue.Queue(), os.getpid()
        threading.Thread(target=_read, args=(process.stdout, self._answers), daemon=True).start()
        # Starting takes time of its own, which is not the template's.
        process.stdin.write(json.dumps({"template": "", "values": {}, "limit": 1}) + "\n")
        process.stdin.flush()
        try:
            self._answers.get(timeout=30)
        except queue.Empty:
            self.stop()
            raise InputError("the process that renders chat templates does not start") from None

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _read(lines: Any, answers: queue.Queue[str]) -> None:
    """Hand on what the process says; an empty line at its end."""
    try:
        for line in lines:
            answers.put(line)
    except (OSError, ValueError):  # closed while reading
        pass
    answers.put("")


WORKER = Worker()
atexit.register(WORKER.stop)
