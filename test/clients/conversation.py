"""A script's side of its conversation with the test, in JSON lines."""

import json
import sys


def settings():
    return json.loads(sys.stdin.readline())


def report(result):
    print(json.dumps({"result": result}))
