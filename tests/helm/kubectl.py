#!/usr/bin/env python3
"""A kubectl for the commands that NOTES.txt and the README tell people, on the pods that running.py runs. What it knows
is in the file that KUBECTL_STATE names; what it does not know is an error. `create` adds to it."""

import argparse
import base64
import json
import os
import re
import sys


def main():
    with open(os.environ["KUBECTL_STATE"], encoding="utf-8") as file:
        state = json.load(file)
    arguments, command = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1:]
    asked = parser().parse_args(arguments)
    if asked.verb == "create":
        create(state, asked)
        return
    if asked.namespace != state["namespace"]:
        sys.exit(f"no namespace {asked.namespace}")
    if asked.verb == "exec":
        pod = state["pods"].get(asked.target) or sys.exit(f"no {asked.target}")
        if command[:1] != ["countersign"]:
            sys.exit("the image holds one program, countersign")
        os.chdir(pod["folder"])
        os.execve(pod["command"][0], [*pod["command"], *command[1:]], pod["environment"])
    if asked.verb == "get":
        entries = asked.kind == "secret" and state["secrets"].get(asked.name) or sys.exit(f"no {asked.name}")
        key = re.fullmatch(r"\{\.data\.(.+)\}", asked.output.removeprefix("jsonpath="))[1]
        print(base64.b64encode(entries[key.replace("\\.", ".")].encode()).decode(), end="")
    if asked.verb == "port-forward" and asked.ports not in state["services"].get(asked.target, []):
        sys.exit(f"no {asked.target} with {asked.ports}")


def parser():
    top = argparse.ArgumentParser(prog="kubectl")
    verbs = top.add_subparsers(dest="verb", required=True)
    for verb, words in (("exec", ["target"]), ("get", ["kind", "name"]), ("port-forward", ["target", "ports"]),
                        ("create", ["kind", "words"])):
        below = verbs.add_parser(verb)
        below.add_argument("--namespace", required=verb != "create")
        for word in words:
            below.add_argument(word, nargs="+" if word == "words" else None)
        if verb == "get":
            below.add_argument("-o", dest="output", required=True)
        if verb == "create":
            below.add_argument("--from-file", action="append", default=[])
    return top


def create(state, asked):
    if asked.kind == "namespace":
        state["namespace"], = asked.words
    elif (asked.kind, asked.words[0]) == ("secret", "generic") and asked.namespace == state["namespace"]:
        entries = {}
        for path in asked.from_file:
            with open(path, encoding="utf-8") as file:
                entries[os.path.basename(path)] = file.read()
        state["secrets"][asked.words[1]] = entries
    else:
        sys.exit(f"can't create {asked}")
    with open(os.environ["KUBECTL_STATE"], "w", encoding="utf-8") as file:
        json.dump(state, file)


if __name__ == "__main__":
    main()
