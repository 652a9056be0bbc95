"""One mesh of one process in each language, every one with a certificate of its own: mixed.py DIRECTORY

They see each other within two seconds, and one that is killed has left all other views within the
interval of suspicion. Times are counted from the moment that the first is told to start, and that the
one is killed, to the moment that the last of them is seen to see it.
"""

import pathlib
import signal
import sys
import tempfile
import time

from runners import PATIENCE_S, Authority, Runner, listed

CONVERGED_S = 2.0
SUSPICION_S = 5.0
#: Members beyond the languages, so that a death is judged by a quorum as it is in a mesh.
LEAST = 3


def until(what, runners, holds):
    """Asks everybody at once until it holds of every view; how long that took."""
    begun = time.monotonic()
    while True:
        for runner in runners:
            runner.tell("view", "a", "alive")
        views = [runner.answer().removeprefix("ok").split() for runner in runners]
        took = time.monotonic() - begun
        if all(holds({member.split(":")[0] for member in view}) for view in views):
            return took
        if took > PATIENCE_S:
            raise RuntimeError(f"{what}: {dict(zip((r.name for r in runners), views, strict=True))}")
        time.sleep(0.005)


def start(runners, authority):
    """Starts an agent in each; the others find the first."""
    seed = None
    for number, runner in enumerate(runners):
        settings = {"suspicionInterval": "00:00:05"}
        path = authority.issue(f"{runner.name}-{number}", **settings)
        runner.good("options", "o", "file", path)
    begun = time.monotonic()
    for runner in runners:
        if seed is not None:
            runner.good("set", "o", "seedPeers", seed)
        runner.good("start", "a", "o", 0)
        seed = seed or runner.good("address", "a")
    return begun


def main(work):
    programs = list(listed(work).items())
    if not programs:
        print("SKIPPED: the mixed mesh, as no language is installed here")
        return 0
    languages = [name for name, _ in programs]
    while len(programs) < LEAST:
        programs.append(programs[-1])
    runners = [Runner(work, name, command) for name, command in programs]
    with tempfile.TemporaryDirectory(prefix="mixed-") as directory:
        try:
            for runner in runners:
                runner.good("load")
            begun = start(runners, Authority(pathlib.Path(directory)))
            until("they see each other", runners, lambda names: len(names) == len(runners))
            converged = time.monotonic() - begun
            print(f"a mesh of {', '.join(languages)} saw itself whole after {converged:.3f} s")
            # The last one, so that the seed stays; by its own number.
            killed, rest = runners[-1], runners[:-1]
            name = f"{killed.name}-{len(runners) - 1}"
            killed.process.send_signal(signal.SIGKILL)
            killed.process.wait(PATIENCE_S)
            gone = until("the killed one is gone", rest, lambda names: name not in names and len(names) == len(rest))
            print(f"{name}, killed, had left the views of all others after {gone:.3f} s")
            for runner in rest:
                runner.good("leave", "a")
                runner.good("close", "a")
        finally:
            for runner in runners:
                if runner.process.poll() is None:
                    runner.close()
    slow = [f"{took:.3f} s, not {most} s" for took, most in ((converged, CONVERGED_S), (gone, SUSPICION_S)) if took >= most]
    if slow:
        print(f"FAILED: {', '.join(slow)}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
