"""Has every binding play every scenario, and compares what they answer: conform.py DIRECTORY [NAME...]

A scenario is a file of `scenarios/`: what is done, step by step, and what it gives, where `*` stands
for anything. A step with `until` is repeated until it gives that; `as` keeps the answer under a name,
for `{name}` in later steps; with `loosely` the answers may differ within what is expected, for a reason. `cannot` names bindings whose language has no such thing, with the reason.
`library` is `real`, or `fake` under a `script`. Beside what they are expected to give, all bindings
have to give the same.
"""

import fnmatch
import json
import pathlib
import sys
import tempfile
import time

from runners import PATIENCE_S, Authority, Incomplete, Runner, listed

SCENARIOS = pathlib.Path(__file__).with_name("scenarios")


class Unlike(Exception):
    """A binding gave something else than it should."""


class Play:
    """One binding plays one scenario."""

    def __init__(self, work, name, command, scenario):
        self._names = {}
        self._directory = tempfile.TemporaryDirectory(prefix="conform-")
        self._authority = None
        script = scenario.get("script", "") if scenario["library"] == "fake" else None
        if script is None:
            self._names["files"] = self._directory.name
            self._authority = Authority(pathlib.Path(self._directory.name))
            for node in scenario.get("nodes", ["a"]):
                self._names[f"{node}.json"] = self._authority.issue(node)
        self._runner = Runner(work, name, command, script)
        self.given = []

    def end(self):
        """Ends the program, and what was issued for it."""
        try:
            self._runner.close()
        finally:
            self._directory.cleanup()

    def step(self, step):
        """One step; Unlike where it gives something else."""
        if self._runner.name in step.get("cannot", {}):
            return
        act, *rest = (self._filled(word) for word in step["do"])
        if act.startswith("!"):
            getattr(self, f"_{act[1:]}")(*rest)
            return
        wanted = self._filled(step.get("until", step.get("gives", "ok")))
        deadline = time.monotonic() + PATIENCE_S
        for _ in range(step.get("times", 1)):
            answer = self._runner.ask(act, *rest)
            while "until" in step and not matches(answer, wanted) and time.monotonic() < deadline:
                time.sleep(0.005)
                answer = self._runner.ask(act, *rest)
            if not matches(answer, wanted):
                raise Unlike(f"{step['do']} gave {answer!r}, not {wanted!r}")
        if "as" in step:
            self._names[step["as"]] = answer.removeprefix("ok ")
        else:
            self.given.append(wanted if "loosely" in step else answer)

    def _filled(self, text):
        for name, value in self._names.items():
            text = text.replace(f"{{{name}}}", str(value))
        return text

    # What the driver does between steps.

    def _renew(self, node):
        self._authority.issue(node, "--force")

    def _spoil(self, node):
        self._authority.certificate(node).write_text("no certificate\n", "utf-8")


def matches(answer, wanted):
    return fnmatch.fnmatchcase(answer, wanted)


def play(work, name, command, scenario):
    """Why it went wrong, or None; and what was given."""
    one = Play(work, name, command, scenario)
    try:
        for step in scenario["steps"]:
            one.step(step)
        return None, one.given
    except (Unlike, RuntimeError, OSError) as error:
        return str(error), one.given
    finally:
        one.end()


def table(rows, names):
    """The rows, every column as wide as its widest word."""
    widths = [max(len(row[at]) for row in [["scenario", *names], *rows]) for at in range(len(names) + 1)]
    for row in [["scenario", *names], *rows]:
        print("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def main(work, wanted):
    try:
        runners = listed(work)
    except Incomplete as error:
        print(f"FAILED: conformance: {error}", file=sys.stderr)
        return 1
    faults, reasons, rows = [], {}, []
    paths = [path for path in sorted(SCENARIOS.glob("*.json")) if not wanted or path.stem in wanted]
    for path in paths:
        scenario = json.loads(path.read_text("utf-8"))
        row, first = [path.stem], None
        for name, command in runners.items():
            parts = {why for step in scenario["steps"] for who, why in step.get("cannot", {}).items() if who == name}
            reasons.update((f"{path.stem}, {name}", why) for why in parts)
            wrong, given = play(work, name, command, scenario)
            if wrong is None and not parts:
                first = given if first is None else first
                if given != first:
                    wrong = f"gave {given}, another binding {first}"
            if wrong is not None:
                faults.append(f"{path.stem}, {name}: {wrong}")
            row.append("FAILED" if wrong is not None else "in part" if parts else "ok")
        rows.append(row)
    table(rows, list(runners))
    for what, why in reasons.items():
        print(f"in part: {what}: {why}")
    for fault in faults:
        print(f"FAILED: {fault}", file=sys.stderr)
    return 1 if faults or not paths else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]))
