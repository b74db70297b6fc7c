#!/usr/bin/env bash
# CrewAI names the tools of an MCP server by its command line, until nothing is left of their own names.
#
# Packages: crewai 1.15.30 (PyPI; with its dependencies 1 GB), mcp 1.30.0, which it brings.
# Seen: a server over stdio with the tools `send` and `archive`, attached by `Agent(mcps=[…])`. A name is
#   the command and its arguments, then the tool's, at most 64 characters of a-z, 0-9 and "_"; beyond
#   that it is cut and ends in 8 digits of its hash. With an ordinary path both tools are named
#   home_ada_projects_mail_venv_bin_python_home_ada_projects_m_7c6d4b51 or the like, and differ in
#   those digits. These names are what the model reads, and what hooks before a call are given.
# Not expected because: a server's name, or its tools' names alone, are what other clients show; a prefix
#   against clashes is not expected to be longer than what it is put before.
# For users: a policy or an allow list by tool names matches nothing, and changes with the folder that
#   the program is installed in; a decision log names the machine's paths instead of the tools. Start
#   the server by a short command that is on the path.
# Exit status: 0 as described, 1 when it behaves otherwise, 77 without python3.
set -euo pipefail
command -v python3 >/dev/null || { echo "skipped: python3 is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check crewai==1.15.30 mcp==1.30.0
mkdir -p "$folder/projects/mail"
cat >"$folder/projects/mail/server.py" <<'PY'
from mcp.server.fastmcp import FastMCP

server = FastMCP("mail")


@server.tool()
def send(to: str) -> str:
    """Send something."""
    return "sent"


@server.tool()
def archive(to: str) -> str:
    """Archive something."""
    return "archived"


server.run()
PY
export CREWAI_DISABLE_TELEMETRY=true CREWAI_DISABLE_TRACKING=true CREWAI_STORAGE_DIR=$folder/crew
export CREWAI_TRACING_ENABLED=false OTEL_SDK_DISABLED=true
"$folder/venv/bin/python" - "$folder/projects/mail/server.py" <<'PY' 2>/dev/null
import sys
from pathlib import Path
from crewai import Agent, BaseLLM, Crew, Task
from crewai.mcp import MCPServerStdio

offered = []


class Scripted(BaseLLM):
    def call(self, messages, tools=None, **ignored):
        offered.extend(one["function"]["name"] for one in tools or ())
        return "done"

    def supports_function_calling(self):
        return True


server = MCPServerStdio(command=sys.executable, args=[sys.argv[1]])
agent = Agent(role="r", goal="g", backstory="b", llm=Scripted(model="scripted"), mcps=[server])
task = Task(description="go", expected_output="done", agent=agent)
Crew(agents=[agent], tasks=[task], verbose=False).kickoff()
names = sorted(set(offered))
print("the server's tools: archive, send; what the model is offered:", *names, sep="\n  ")
if len(names) != 2 or any("send" in one or "archive" in one for one in names):
    sys.exit("changed: the tools of an MCP server keep their names")
PY
