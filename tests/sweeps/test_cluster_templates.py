"""The templates for clusters are what the tools behind them accept, and what they and their page say exists."""

import json
import os
import re
import signal
import stat
import subprocess
import time
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml
from packaging.requirements import Requirement

from sweeps.cli import app

CLUSTER = Path(str(files("sweeps") / "cluster"))
PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
DOCKERFILE = PAGE.parents[1] / "Dockerfile"
TEMPLATES = ["slurm.sh", "rayjob.yaml", "ray-up.yaml", "ray-up-local.yaml", "job.sh"]

SBATCH = {  # the options of `man sbatch` that a script of ours may use, with the form of their values
    "job-name": r"\S+",
    "nodes": r"\d+(-\d+)?",
    "gpus-per-node": r"([a-z0-9_]+:)?\d+",
    "cpus-per-task": r"\d+",
    "mem": r"\d+[KMGT]?",
    "time": r"(\d+-)?\d+(:\d+){0,2}",
    "output": r"\S+",
    "ntasks-per-node": r"\d+",
    "exclusive": r"(user|mcs|exclusive|oversubscribe)?",
    "signal": r"([RB]{1,2}:)?(USR1|USR2|TERM|\d+)(@\d+)?",
    "requeue": "",
    "open-mode": "append|truncate",
    "no-kill": "(off)?",
    "partition": r"\S+",
    "account": r"\S+",
}


def load(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text())


def everything() -> str:
    """The code on the page and all templates, with continued lines joined."""
    code = re.findall(r"```.*?```|`[^`\n]+`", PAGE.read_text(), flags=re.DOTALL)
    return "\n".join([*code, *((CLUSTER / name).read_text() for name in TEMPLATES)]).replace("\\\n", " ")


def test_every_template_is_packaged_and_on_the_page() -> None:
    assert sorted(path.name for path in CLUSTER.iterdir()) == sorted(TEMPLATES)
    for name in TEMPLATES:
        assert f"`{name}`" in PAGE.read_text()


@pytest.mark.parametrize("name", ["ray-up.yaml", "ray-up-local.yaml"])
def test_ray_up_accepts_the_cluster(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(load(name))
    validate_config(prepared)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    starts = [line for line in prepared["head_start_ray_commands"] if "ray start" in line]
    assert all("--dashboard-host=127.0.0.1" in line and "RAY_JOB_STOP_WAIT_TIME_S=60" in line for line in starts)
    assert starts


def test_ray_up_refuses_an_unknown_field() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config({**load("ray-up.yaml"), "dashboard": "0.0.0.0"}))


def test_the_rayjob_has_the_fields_of_kuberay() -> None:
    schema = json.loads(Path(__file__).with_name("rayjob.schema.json").read_text())
    job = load("rayjob.yaml")
    jsonschema.validate(job, schema)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert cluster["authOptions"] == {"mode": "token"}
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert pod["terminationGracePeriodSeconds"] > 30
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**job, "spec": {**job["spec"], "backoffLimits": 1}}, schema)


def test_one_version_of_ray_everywhere() -> None:
    (wanted,) = [Requirement(need) for need in requires("kdsweep") or [] if need.startswith("ray[tune]")]
    named = set(
        re.findall(
            r"(?:rayproject/ray:|rayVersion: \"|ray\[default\]==|RAY=)(\d+\.\d+)", everything() + DOCKERFILE.read_text()
        )
    )
    (version,) = named
    assert version in wanted.specifier


@pytest.mark.parametrize("name", ["slurm.sh", "job.sh"])
def test_scripts_are_bash(name: str) -> None:
    subprocess.run(["bash", "-n", CLUSTER / name], check=True)


def test_the_options_of_sbatch_exist_and_come_before_any_command() -> None:
    lines = (CLUSTER / "slurm.sh").read_text().splitlines()
    asked = [line for line in lines if line.startswith("#SBATCH")]
    assert len(asked) >= 10
    for line in asked:
        found = re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line)
        assert found, line
        option, value = found[1], found[2] or ""
        assert re.fullmatch(SBATCH[option], value), line
    first = next(index for index, line in enumerate(lines) if line and not line.startswith("#"))
    assert max(lines.index(line) for line in asked) < first, "sbatch reads no options after the first command"


def test_commands_of_kdsweep_exist_with_their_options() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    commands_shown = re.findall(r"\bkdsweep ([a-z]+)\b([^`'\n|;]*)", everything())
    assert {name for name, _ in commands_shown} >= {"run", "status", "plan"}
    for name, rest in commands_shown:
        assert name in commands, name
        allowed = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= allowed, (name, rest)


def test_commands_of_ray_exist_with_their_options() -> None:
    from ray.scripts.scripts import cli

    for name in set(re.findall(r"(?:^|[`'|;] ?|# +)ray ([a-z-]+)", everything(), flags=re.MULTILINE)):
        assert name in cli.commands, name
    for name, group in (("start", cli), ("stop", cli), ("submit", cli.commands["job"])):
        allowed = {option for parameter in group.commands[name].params for option in parameter.opts}
        for rest in re.findall(rf"\bray (?:job )?{name} ([^`'\n|;)]*)", everything()):
            options = set(re.findall(r"(?<!\S)--[a-z-]+", rest.split(" -- ")[0]))
            assert options <= allowed, (name, rest)


STUBS = {
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "ray": """
        [[ $1 == stop ]] && exit
        printf '%s ' "$@" >"$HERE/ray.part"; mv "$HERE/ray.part" "$HERE/ray"
        [[ -e $HERE/slow ]] && sleep 2 && exit 1
        while [[ $1 != -- ]]; do shift; done; shift; "$@" """,  # a child, as under `ray symmetric-run`
    "kdsweep": """
        trap 'echo USR1 >"$HERE/seen"; exit 138' USR1
        trap 'echo TERM >"$HERE/seen"; exit 143' TERM
        printf '%s ' "$@" >"$HERE/kdsweep.part"; mv "$HERE/kdsweep.part" "$HERE/kdsweep"
        for _ in {1..200}; do sleep 0.05; [[ -e $HERE/finish ]] && exit 0; done""",
    "scontrol": 'printf "%s " "$@" >"$HERE/scontrol"',
    "scancel": 'printf "%s " "$@" >"$HERE/scancel"',
    "openssl": "echo secret",
    "hostname": "echo 10.0.0.1 10.1.0.1",
}


@pytest.fixture
def job(tmp_path: Path) -> subprocess.Popen[bytes]:
    """`slurm.sh` with its driver at work."""
    return start(tmp_path, until="kdsweep")


def start(tmp_path: Path, until: str) -> subprocess.Popen[bytes]:
    """`slurm.sh` as a batch shell would run it, with stand-ins for the commands that it calls."""
    bin_ = tmp_path / "venv" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "activate").write_text(f"export PATH={bin_}:$PATH")
    for name, body in STUBS.items():
        (bin_ / name).write_text(f"#!/bin/bash\n{body}\n")
        (bin_ / name).chmod(stat.S_IRWXU)
    environment = {
        **os.environ,
        "HERE": str(tmp_path),
        "KDSWEEP_VENV": str(tmp_path / "venv"),
        "SLURM_JOB_ID": "31207",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "8",
        "SLURM_GPUS_ON_NODE": "4",
    }
    process = subprocess.Popen(
        ["bash", CLUSTER / "slurm.sh", "spec.yaml", "/shared/D", "--set", "name=a b"], env=environment, cwd=tmp_path
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / until).exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_slurm_runs_the_driver_on_the_cluster_of_the_job(job: subprocess.Popen[bytes], tmp_path: Path) -> None:
    (tmp_path / "finish").touch()
    assert job.wait(60) == 0
    assert (
        (tmp_path / "ray")
        .read_text()
        .startswith("symmetric-run --address 10.0.0.1:21207 --min-nodes 2 --num-cpus=8 --num-gpus=4 -- ")
    )
    assert (tmp_path / "kdsweep").read_text().split() == (
        ["run", "spec.yaml", "--dir", "/shared/D", "--address", "10.0.0.1:21207", "--set", "name=a", "b"]
    )
    assert not (tmp_path / "scontrol").exists()


def test_slurm_passes_the_warning_to_the_driver_and_queues_again(job: subprocess.Popen[bytes], tmp_path: Path) -> None:
    job.send_signal(signal.SIGUSR1)
    assert job.wait(60) == 138
    assert (tmp_path / "seen").read_text() == "USR1\n"
    assert (tmp_path / "scontrol").read_text() == "requeue 31207 "


def test_slurm_stopped_by_hand_is_not_queued_again(job: subprocess.Popen[bytes], tmp_path: Path) -> None:
    job.send_signal(signal.SIGTERM)
    assert job.wait(60) == 143
    assert (tmp_path / "seen").read_text() == "TERM\n"
    assert not (tmp_path / "scontrol").exists()


@pytest.mark.parametrize(("name", "called"), [("USR1", "scontrol"), ("TERM", "scancel")])
def test_slurm_warned_before_there_is_a_driver(tmp_path: Path, name: str, called: str) -> None:
    (tmp_path / "slow").touch()
    job = start(tmp_path, until="ray")
    job.send_signal(signal.Signals[f"SIG{name}"])
    job.wait(60)
    assert (tmp_path / called).read_text().split()[-1] == "31207"
    assert [tool for tool in ("scontrol", "scancel") if (tmp_path / tool).exists()] == [called]
