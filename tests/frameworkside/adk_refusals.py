# pyright: reportMissingImports=false
"""Prints what Google ADK's adapter says of agents that would run something without a decision."""

import json
import sys
from typing import Any

from google.adk.agents import LlmAgent, SequentialAgent
from google.adk.code_executors import BuiltInCodeExecutor, UnsafeLocalCodeExecutor
from google.adk.tools import AgentTool
from google.adk.workflow import START, Workflow

from muniment.adapters.core import Gate
from muniment.adapters.google_adk import govern


def plain(name: str, **more: Any) -> LlmAgent:
    return LlmAgent(name=name, model="none", **more)


def coder(executor: Any = None) -> LlmAgent:
    return plain("coder", code_executor=executor or UnsafeLocalCodeExecutor())


AGENTS = {
    "local code": coder,
    "code at the provider": lambda: coder(BuiltInCodeExecutor()),
    "a sub-agent's code": lambda: SequentialAgent(name="outer", sub_agents=[coder()]),
    "code of an agent as a tool": lambda: plain("outer", tools=[AgentTool(coder())]),
    "a workflow": lambda: Workflow(name="flow", edges=[(START, plain("inner"))]),
    "none": lambda: plain("outer", sub_agents=[plain("inner")]),
}

NOBODY: Any = None
"""The gateway: nothing is asked."""

said: dict[str, str] = {}
for name, make in AGENTS.items():
    try:
        govern(Gate(NOBODY), make())
    except (TypeError, ValueError) as error:
        said[name] = type(error).__name__
json.dump(said, sys.stdout)
