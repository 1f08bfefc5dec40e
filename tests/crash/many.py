"""Does many things on several lab hosts side by side: most of a fault's life is waiting."""

import multiprocessing
import multiprocessing.connection
import os
import pathlib
import random
import tempfile
import traceback

from lab.host import Lab, LabError, die_with_parent

IS_FULL = bool(os.environ.get("GRIVET_FULL"))
WORKERS = int(os.environ.get("GRIVET_WORKERS") or (8 if IS_FULL else 2) * os.cpu_count())
AGAIN = 40  # so many on one host: its journal grows
TRIES = 3
LATE = "late: "  # how a failure begins that may be the machine's


def chance():
    """A generator of chances and the seed that brings the same again."""
    # Plain ./verify tries the same points each time: what it finds has to be found again. --full goes where nobody was.
    seed = os.environ.get("GRIVET_SEED") or (str(random.SystemRandom().randrange(10**6)) if os.environ.get("GRIVET_FULL") else "1")
    return random.Random(seed), seed


class Spent(Exception):
    """It could not be done on this host, and says nothing: it wants another, and in the end to be alone."""


class Late(AssertionError):
    """Something did not come in time."""


class Place:
    """A lab with one rig in it, made when it is needed."""

    def __init__(self, make):
        self.make, self.lab, self.rig, self.uses = make, None, None, 0

    def close(self):
        if self.lab:
            self.lab.close()
        self.lab = self.rig = None

    def once(self, do, item):
        if self.rig is None:
            self.lab, self.uses = Lab(logs=pathlib.Path(tempfile.mkdtemp(prefix="logs-", dir=os.getcwd()))), 0
            self.rig = self.make(self.lab)
        result = do(self.rig, item)
        self.uses += 1
        if self.uses % AGAIN == 0:
            self.rig.check_whole()
            self.close()
        return result

    def do(self, do, item):
        """What do(rig, item) returned, and in which way it failed or None."""
        for left in reversed(range(TRIES)):
            try:
                return self.once(do, item), None
            except (AssertionError, LabError, OSError, Spent) as error:
                if isinstance(error, Spent) and left:
                    print(f"{item}: again on another host: {error}", flush=True)
                    self.close()
                    continue
                where = "" if isinstance(error, AssertionError) else traceback.format_exc()
                executor = self.rig.host.log("grivetd")[-1000:] if self.rig else ""
                self.close()
                is_late = isinstance(error, (Late, LabError, Spent))
                return None, f"{LATE if is_late else ''}{error}\n{where}{executor}"


def live(folder, make, do, pipe):
    die_with_parent()
    os.chdir(folder)
    place = Place(make)
    while (item := pipe.recv()) is not None:
        pipe.send((item, *place.do(do, item)))
    if place.rig and place.uses:
        try:
            place.rig.check_whole()
        except (AssertionError, LabError, OSError) as error:
            pipe.send((None, None, str(error)))
    place.close()
    pipe.send(None)


def do_all(items, folder, make, do, workers=WORKERS):
    """Yields (item, result, failure or None) in the order in which they come to an end."""
    context, waiting, pipes = multiprocessing.get_context("fork"), list(reversed(items)), []
    for _ in range(min(workers, len(items))):
        ours, theirs = context.Pipe()
        context.Process(target=live, args=(str(folder), make, do, theirs), daemon=True).start()
        theirs.close()
        ours.send(waiting.pop() if waiting else None)
        pipes.append(ours)
    while pipes:
        for pipe in multiprocessing.connection.wait(pipes):
            answer = pipe.recv()
            if answer is None:
                pipes.remove(pipe)
                continue
            if answer[0] is not None:
                pipe.send(waiting.pop() if waiting else None)
            yield answer


def do_surely(items, folder, make, do):
    """The same, but what was late among so many is done again, one at a time, and has to be in time TRIES times."""
    late = []
    for item, result, failure in do_all(items, folder, make, do):
        if item and failure and failure.startswith(LATE):
            late.append(item)
            print(f"{item}: again alone: {failure}", flush=True)
        else:
            yield item, result, failure
    again = {}
    for item, result, failure in do_all(late * TRIES, folder, make, do, workers=1):
        again[item] = result, again.get(item, (None, None))[1] or failure
    yield from ((item, *rest) for item, rest in again.items())
