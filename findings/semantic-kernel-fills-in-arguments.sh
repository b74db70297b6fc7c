#!/usr/bin/env bash
# A tool gets an argument that the model did not give, because a variable of the prompt has its name.
#
# Packages: semantic-kernel 1.45.0 (PyPI).
# Seen: the prompt runs with KernelArguments(cc="boss@example.com", customer="c7"). The model calls mail-send with
#   {"to": "ada"}, where cc has the default "". The tool runs with cc="boss@example.com"; the call in the
#   history has {"to": "ada"}. An argument that the function does not have is refused if the model gives
#   it ("Received unexpected argument(s)"); of the prompt's variables the others are left out.
# Not expected because: KernelArguments fill in the placeholders of a prompt's template, and the arguments of a
#   tool call are the model's: what it leaves out should be the function's default, as its schema says.
# For users: the same call of the model does different things in different prompts, and neither the history nor
#   the call tells. Approve and log what a function invocation filter has in `context.arguments`, not the
#   call, and name the variables of prompts so that no parameter of a tool has their name.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check semantic-kernel==1.45.0
"$folder/venv/bin/python" - <<'PY'
import asyncio
import sys

from semantic_kernel import Kernel
from semantic_kernel.contents import ChatHistory, FunctionCallContent
from semantic_kernel.functions import KernelArguments, kernel_function

ran, filtered = [], []


class Mail:
    @kernel_function(description="Send a mail.")
    def send(self, to: str, cc: str = "") -> str:
        ran.append({"to": to, "cc": cc})
        return "sent"


async def note(context, next):  # the name that the kernel calls it by
    filtered.append(context.arguments.get("cc"))
    await next(context)


async def main():
    kernel = Kernel()
    kernel.add_plugin(Mail(), "mail")
    kernel.add_filter("function_invocation", note)
    for variables, cc in ({}, ""), ({"cc": "boss@example.com", "customer": "c7"}, "boss@example.com"):
        ran.clear()
        call = FunctionCallContent(id="call_1", name="mail-send", arguments={"to": "ada"})
        await kernel.invoke_function_call(call, ChatHistory(), arguments=KernelArguments(**variables))
        print(f"prompt's variables {variables}: the call has {call.arguments}, the tool got {ran}, the filter cc={filtered[-1]}")
        if ran != [{"to": "ada", "cc": cc}] or call.arguments != {"to": "ada"} or filtered[-1] != (cc or None):
            sys.exit("changed: a tool gets the model's arguments and no others")


asyncio.run(main())
PY
