"""Programs that do with a binding what they are told, one line at a time.

A line is an act and what it is done with, apart by tabs; the answer is one line as well: `ok` with
what was found, or `error` with the code's name and the field, `-` where there is none.

    load                          checks that library and binding belong together
    options O json|file TEXT      makes options, and `set O KEY [VALUE]` sets a key
    start A O CAPACITY            starts an agent; `address A`, `node A` tell what it has become
    label A KEY [VALUE]           and lifecycle, reload, leave, stop, close, fork: as in the header
    metadata A REGION KEY VALUE   a region, and one label in place of all
    certificates A FILE FILE FILE certificate, key and trust, read and handed over as bytes
    latest A TOPIC KEY TEXT       a broadcast in place of an earlier one
    snapshot A S                  keeps a snapshot, and `members S` shows it: NODE:STATUS:LIFECYCLE:LABELS
    view A [STATUS]               shows the newest one
    await A KIND MS               the first event of a kind, those before it are thrown away
    tally A COUNT MS              broadcasts taken and missed, once they are so many
    broadcast A TOPIC TEXT        and send, to nobody; peers, leaders, health, contacts
"""

import json
import os
import pathlib
import queue
import subprocess
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
OMNIRELAY = os.environ.get("OMNIRELAY", ROOT / "target" / "debug" / "omnirelay")
#: No answer may take longer; it only ends what hangs.
PATIENCE_S = 60


#: Those that `build` knows.
LANGUAGES = ("c", "cpp", "python", "go", "node", "mono")


class Incomplete(Exception):
    """A language has no program, and nobody said that it may be left out."""


def listed(work):
    """The programs that `build` made: names and command lines. Incomplete where one is missing."""
    lines = (work / "runners").read_text("utf-8").splitlines()
    programs = {name: command.split(" ") for name, command in (line.split("\t") for line in lines)}
    left_out = (work / "left-out").read_text("utf-8").split()
    missing = [name for name in LANGUAGES if name not in programs and name not in left_out]
    if missing or not programs:
        raise Incomplete(f"no program for {', '.join(missing or LANGUAGES)}; --without NAME leaves a language out")
    return programs


class Runner:
    """One program, with the real library or the fake one under a script."""

    def __init__(self, work, name, command, script=None):
        kind = "real" if script is None else "fake"
        environment = dict(os.environ, LD_LIBRARY_PATH=str(work / kind), PYTHONDONTWRITEBYTECODE="1")
        if script is not None:
            environment["MESH_GOSSIP_FAKE"] = script
            environment["PYTHONPATH"] = str(work / "fake" / "python")
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
            env=environment, cwd=work,
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def tell(self, *words):
        """Asks without waiting for the answer."""
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        """The next answer, its words apart by spaces."""
        line = self._lines.get(timeout=PATIENCE_S)
        if line is None:
            raise RuntimeError(f"{self.name} ended with {self.process.wait(PATIENCE_S)}")
        return line.replace("\t", " ")

    def ask(self, *words):
        """Asks and waits."""
        self.tell(*words)
        return self.answer()

    def good(self, *words):
        """Asks what has to succeed; what was found."""
        answer = self.ask(*words)
        if answer.split(" ")[0] != "ok":
            raise RuntimeError(f"{self.name}: {words}: {answer}")
        return answer.removeprefix("ok").strip()

    def close(self):
        """Ends the program, which has nothing left to do."""
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


class Authority:
    """Issues certificates, and settings that go with them."""

    def __init__(self, directory):
        self.directory = directory
        self._omnirelay("init", "--trust-domain", "example.org", "--cluster", "prod")

    def _omnirelay(self, what, *arguments):
        line = [OMNIRELAY, "mesh", "bootstrap", what, "--dir", self.directory / "ca", *arguments]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    def issue(self, node, *more, **settings):
        """A file of settings with a certificate of its own."""
        certificates = self.directory / "certs"
        arguments = ("--node", node, "--role", "worker", "--out", certificates, *more)
        document = json.loads(self._omnirelay("issue", *arguments))
        document["mesh"]["gossip"].update(
            {
                "bindAddress": "127.0.0.1", "advertiseHost": "127.0.0.1", "port": 0, "control:port": 0,
                "events:delivery": "immediate", **settings,
            }
        )
        path = self.directory / f"{node}.json"
        path.write_text(json.dumps(document), "utf-8")
        return path

    def certificate(self, node):
        """Where it stands."""
        return self.directory / "certs" / f"{node}.pem"
