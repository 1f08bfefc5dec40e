"""-o json: of every command one document on standard output, and nothing else there."""

import json
import re
import subprocess

from lab.keys import Key
from netns.test_cli import (GRIVET, RUN, certificates, coordinator, grivet, mandate, report, serve_run,  # noqa: F401
                            text_time)
from netns.test_cli_halt import write_halt_key


def words_of_every_command(certificates, coordinator, tmp_path):
    """A call of each command that can run here; `join` and `wait-ready` need a host (test_join.py, test_cli_host.py)."""
    (tmp_path / "m.json").write_text(json.dumps(mandate()))
    (tmp_path / "roots.json").write_text(json.dumps({
        "schema": "grivet.roots/1", "version": 1, "expires_at": text_time(3600),
        "keys": [{"public": Key("x").public_text, "person": "x", "roles": ["approve"]}]}))
    write_halt_key(certificates)
    serve_run(coordinator, report())
    coordinator.replies["POST", "/v1/plan"] = {"mandate": mandate(), "answers": [], "refused": [], "budgets": []}
    coordinator.replies["POST", "/v1/halt"] = {"hosts": 1, "gone": 1, "unreachable": []}
    coordinator.replies["POST", "/v1/tokens"] = {"id": "7", "token": "secret"}
    coordinator.replies["DELETE", "/v1/tokens/7"] = {}
    coordinator.replies.update({("GET", f"/v1/{list_}"): [] for list_ in ("runs", "hosts", "tokens")})
    return ["init a.yaml", "key new alice --no-passphrase", "key show alice.key", "plan a.yaml -f m.json",
            "sign m.json --key alice.key --hosts 2", "verify m.json --roots roots.json", "run m.json", "run m.json --detach",
            "status", f"status {RUN}", "halt --fleet", f"report {RUN}", "hosts", "token new --label a=b", "token list",
            "token revoke 7", "faults", "faults zone.block", "doctor"]


def test_json_is_one_document(grivet, coordinator, certificates, tmp_path):
    words = words_of_every_command(certificates, coordinator, tmp_path)
    commands = set(re.findall(r"^  ([a-z-]+) ", grivet("--help").stdout, re.M))
    assert commands == {each.split()[0] for each in words} | {"join", "wait-ready", "completion"}
    said = {}
    for each in words:
        code = {"verify": 5, "doctor": None}.get(each.split()[0], 0)
        done = grivet(*each.split(), "-o", "json", code=code)
        said[each] = json.loads(done.stdout)
        assert done.stderr == "" or not done.stderr.startswith("{")
        if each.startswith("sign"):
            assert "duration_ms: 20000\n" in done.stderr  # whoever signs sees what
    assert said["init a.yaml"] == {"file": "a.yaml", "experiment": "a"}
    assert said["sign m.json --key alice.key --hosts 2"]["signatures"] == 1
    assert said["token revoke 7"] == {"id": "7", "is_revoked": True}
    refused = grivet("completion", "bash", "-o", "json", code=2)
    assert "-o json" in refused.stderr and refused.stdout == ""


def test_what_can_not_be_written_is_an_error(grivet):
    with open("/dev/full", "w") as full:
        done = subprocess.run([GRIVET, "faults", "-o", "json"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left" in done.stderr
