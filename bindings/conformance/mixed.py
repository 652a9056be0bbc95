"""One mesh of one process in each language, every one with a certificate of its own: mixed.py DIRECTORY

They see each other within two seconds, and one that is killed is out of all other views within the
interval of suspicion: judged failed, not merely doubted, and all others in touch. Times are counted from
the moment that the first is told to start, and that the one is killed, to the moment that the last of
them is seen to see it.
"""

import pathlib
import signal
import sys
import tempfile
import time

from runners import PATIENCE_S, Authority, Incomplete, Runner, listed

CONVERGED_S = 2.0
SUSPICION_S = 5.0
#: Members beyond the languages, so that a death is judged by a quorum as it is in a mesh.
LEAST = 3


def statuses(view):
    """Who is seen, and how."""
    return dict(member.split(":")[:2] for member in view)


def until(what, runners, wanted, patience):
    """Asks everybody at once until every view is what is wanted; how long that took."""
    begun = time.monotonic()
    while True:
        for runner in runners:
            runner.tell("view", "a")
        views = [statuses(runner.answer().removeprefix("ok").split()) for runner in runners]
        took = time.monotonic() - begun
        if all(view == wanted for view in views):
            return took
        if took > patience:
            raise RuntimeError(f"{what}: {dict(zip((r.name for r in runners), views, strict=True))}")
        time.sleep(0.005)


def start(runners, authority):
    """Starts an agent in each; the others find the first."""
    seed = None
    for number, runner in enumerate(runners):
        settings = {"suspicionInterval": f"00:00:{SUSPICION_S:02.0f}"}
        path = authority.issue(f"{runner.name}-{number}", **settings)
        runner.good("options", "o", "file", path)
    begun = time.monotonic()
    for runner in runners:
        if seed is not None:
            runner.good("set", "o", "seedPeers", seed)
        runner.good("start", "a", "o", 0)
        seed = seed or runner.good("address", "a")
    return begun


def play(runners, authority, patience):
    """How long it took until all were seen, and until the last one, killed, was out."""
    for runner in runners:
        runner.good("load")
    names = [f"{runner.name}-{number}" for number, runner in enumerate(runners)]
    begun = start(runners, authority)
    until("they see each other", runners, dict.fromkeys(names, "alive"), patience)
    converged = time.monotonic() - begun
    print(f"a mesh of {', '.join(names)} saw itself whole after {converged:.3f} s")
    # The last one, so that the seed stays.
    killed, rest = runners[-1], runners[:-1]
    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait(PATIENCE_S)
    wanted = dict.fromkeys(names, "alive") | {names[-1]: "failed"}
    gone = until("the killed one is judged failed", rest, wanted, patience)
    print(f"{names[-1]}, killed, was failed in the views of all others after {gone:.3f} s")
    for runner in rest:
        runner.good("leave", "a")
        runner.good("close", "a")
    return converged, gone


def main(work, patience=PATIENCE_S):
    try:
        programs = list(listed(work).items())
    except Incomplete as error:
        print(f"FAILED: the mixed mesh: {error}", file=sys.stderr)
        return 1
    while len(programs) < LEAST:
        programs.append(programs[-1])
    runners = [Runner(work, name, command) for name, command in programs]
    with tempfile.TemporaryDirectory(prefix="mixed-") as directory:
        try:
            converged, gone = play(runners, Authority(pathlib.Path(directory)), patience)
        except RuntimeError as error:
            print(f"FAILED: {error}", file=sys.stderr)
            return 1
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
