"""The driver itself, with programs that only pretend: what it has to refuse, it refuses."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import unittest

import conform
import mixed
from runners import LANGUAGES

#: Answers as a runner does. Its first view is whole; later ones show the last member as told.
PRETENDER = """
import json, sys
names, later = json.loads(sys.argv[1]), sys.argv[2]
looks = 0
for line in sys.stdin:
    act = line.rstrip("\\n").split("\\t")[0]
    answer = ["ok"]
    if act == "address":
        answer.append("127.0.0.1:1")
    if act == "view":
        last = "alive" if looks == 0 else later
        looks += 1
        answer += [f"{name}:alive:active" for name in names[:-1]]
        answer += [f"{names[-1]}:{last}:active"] if last != "unlisted" else []
    print("\\t".join(answer), flush=True)
"""


class Papers:
    """Issues nothing: nobody reads it."""

    def __init__(self, directory):
        self._directory = directory

    def issue(self, node, **_):
        return self._directory / f"{node}.json"


class Driver(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="driver-")
        self.addCleanup(directory.cleanup)
        self._work = pathlib.Path(directory.name)
        (self._work / "pretender.py").write_text(PRETENDER, "utf-8")
        real = mixed.Authority
        self.addCleanup(setattr, mixed, "Authority", real)
        mixed.Authority = Papers

    def _listed(self, later, languages=LANGUAGES, without=()):
        names = [f"{name}-{number}" for number, name in enumerate(languages)]
        words = json.dumps(names, separators=(",", ":"))
        lines = [
            f"{name}\t{sys.executable} -B {self._work}/pretender.py {words} {later.get(name, 'failed')}"
            for name in languages
        ]
        (self._work / "runners").write_text("".join(f"{line}\n" for line in lines), "utf-8")
        (self._work / "left-out").write_text("\n".join(without), "utf-8")

    def _of(self, main, *rest):
        """The exit code, and all that was printed."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main(self._work, *rest)
        return code, said.getvalue()

    def test_a_mesh_that_judges_the_killed_one_failed_is_good(self):
        self._listed({})
        code, said = self._of(mixed.main, 5)
        self.assertEqual(code, 0, said)
        self.assertIn("mono-5, killed, was failed in the views of all others", said)

    def test_who_is_merely_doubted_is_not_out(self):
        # In one view of five; nor is one that is still in touch, said goodbye, or is not listed.
        for status in ("suspect", "alive", "left", "unlisted"):
            self._listed({"go": status})
            code, said = self._of(mixed.main, 0.1)
            self.assertEqual(code, 1, said)
            self.assertIn("FAILED: the killed one is judged failed", said)

    def test_a_missing_language_fails_and_is_named(self):
        for missing in LANGUAGES:
            self._listed({}, [name for name in LANGUAGES if name != missing])
            for main, rest in ((mixed.main, []), (conform.main, [[]])):
                code, said = self._of(main, *rest)
                self.assertEqual(code, 1, said)
                self.assertIn(f"no program for {missing};", said)

    def test_one_that_is_left_out_by_name_is_not_missed(self):
        self._listed({}, [name for name in LANGUAGES if name != "node"], ["node"])
        code, said = self._of(mixed.main, 5)
        self.assertEqual(code, 0, said)
        self.assertIn("a mesh of c-0, cpp-1, python-2, go-3, mono-4 saw itself whole", said)

    def test_nobody_at_all_is_no_mesh(self):
        self._listed({}, [], LANGUAGES)
        for main, rest in ((mixed.main, []), (conform.main, [[]])):
            code, said = self._of(main, *rest)
            self.assertEqual(code, 1, said)


if __name__ == "__main__":
    unittest.main()
