"""A GGUF file with another chat template than it came with: for comparing what two servers make of one that knows tools.

Standard library only. Everything but the template stays as it is, byte by byte; tensors move to where the longer or shorter header ends.
"""

import pathlib
import struct

from llm_model import ALIGNMENT, STRING, Metadata, entry, text

KEY = "tokenizer.chat_template"

# ChatML with tools: what they are and how one is called is said to the system, calls and results have their places in the conversation.
WITH_TOOLS = """\
{%- if messages[0].role == 'system' %}{% set told = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set told = '' %}{% set rest = messages %}{% endif %}
{%- if tools or told %}<|im_start|>system
{{ told }}{% if tools %}
Functions, as JSON:{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
To call one, write <tool_call>{"name": its name, "arguments": its arguments}</tool_call>.{% endif %}<|im_end|>
{% endif %}
{%- for message in rest %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>{{ message.content }}</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content or '' }}{% for call in message.tool_calls or [] %}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>{% endfor %}<|im_end|>
{% endif %}{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tensor_table(metadata, tensors):
    """The bytes of the table that begins where the metadata ends."""
    begin = metadata.at
    for _ in range(tensors):
        metadata.string()
        (dimensions,) = metadata.numbers("<I")
        metadata.numbers(f"<{dimensions}QIQ")
    return metadata.data[begin:metadata.at]


def aligned(size, alignment):
    return (size + alignment - 1) // alignment * alignment


def with_template(source, target, template):
    """Writes `target`: `source` with this chat template. ValueError: it is no GGUF of version 2 or 3."""
    metadata = Metadata(source)
    _, version, tensors, _ = struct.unpack_from("<4sIQQ", metadata.data)
    own = metadata.entries.get("general.alignment")
    alignment = struct.unpack_from("<I", own, len(text("general.alignment")) + 4)[0] if own else ALIGNMENT
    table = tensor_table(metadata, tensors)
    data = metadata.data[aligned(metadata.at, alignment):]
    entries = {**metadata.entries, KEY: entry(KEY, STRING, template)}
    header = struct.pack("<4sIQQ", b"GGUF", version, tensors, len(entries)) + b"".join(entries.values()) + table
    with pathlib.Path(target).open("wb") as out:
        out.write(header)
        out.write(bytes(aligned(len(header), alignment) - len(header)))
        out.write(data)
