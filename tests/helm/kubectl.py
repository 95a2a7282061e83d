#!/usr/bin/env python3
"""A kubectl for the commands that NOTES.txt tells people, on the pods that running.py runs: `exec`, `get secret` and
`port-forward`. What it knows is in the file that KUBECTL_STATE names; what it does not know is an error."""

import argparse
import base64
import json
import os
import re
import sys


def main():
    with open(os.environ["KUBECTL_STATE"], encoding="utf-8") as file:
        state = json.load(file)
    parser = argparse.ArgumentParser(prog="kubectl")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, words in (("exec", ["target"]), ("get", ["kind", "name"]), ("port-forward", ["target", "ports"])):
        below = verbs.add_parser(verb)
        below.add_argument("--namespace", required=True)
        for word in words:
            below.add_argument(word)
    verbs.choices["get"].add_argument("-o", dest="output", required=True)
    arguments = sys.argv[1:]
    command = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1:]
    asked = parser.parse_args(arguments)
    if asked.namespace != state["namespace"]:
        parser.error(f"no namespace {asked.namespace}")
    if asked.verb == "exec":
        pod = state["pods"].get(asked.target) or parser.error(f"no {asked.target}")
        if command[:1] != ["countersign"]:
            parser.error("the image holds one program, countersign")
        os.chdir(pod["folder"])
        os.execve(pod["program"], [pod["program"], *command[1:]], pod["environment"])
    if asked.verb == "get":
        entries = asked.kind == "secret" and state["secrets"].get(asked.name) or parser.error(f"no {asked.name}")
        key = re.fullmatch(r"\{\.data\.(.+)\}", asked.output.removeprefix("jsonpath="))[1]
        print(base64.b64encode(entries[key.replace("\\.", ".")].encode()).decode(), end="")
    if asked.verb == "port-forward" and asked.ports not in state["services"].get(asked.target, []):
        parser.error(f"no {asked.target} with {asked.ports}")


if __name__ == "__main__":
    main()
