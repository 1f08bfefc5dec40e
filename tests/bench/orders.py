"""From an order in the executor's socket to a fault that the kernel shows, and to one whose effect was measured."""

from bench.many import agent, percentile

COUNT = 300
GOALS = {"armed": 1, "exercised": 3}


def measure():
    with agent() as crowd:
        facts = crowd.many(COUNT, 1, 0.3)
    for what in ("armed", "exercised"):
        taken = [(fact[what] - fact["sent"]) * 1000 for fact in facts]
        yield {"what": f"order received -> {what}, p50 of {COUNT}", "unit": "ms", "ours": percentile(taken, 50),
               "goal": GOALS[what]}
        yield {"what": f"order received -> {what}, p99 of {COUNT}", "unit": "ms", "ours": percentile(taken, 99)}
