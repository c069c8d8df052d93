"""Where segments are trained: what is refused before anything is written, and which workers are let in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from program import TINY

from grownn_hpo import preflight
from grownn_hpo.dispatch import Died, Ending, Inline, Lost, OutOfMemory, Raised, Returned, Stalled
from grownn_hpo.driver import site as site_module
from grownn_hpo.driver.arms import OpenArm, open_study
from grownn_hpo.driver.run import ArmRun
from grownn_hpo.driver.site import Gate, Site
from grownn_hpo.environment import environment
from grownn_hpo.errors import InputError
from grownn_hpo.preflight import Report
from grownn_hpo.spec.cluster import SlurmProfile
from grownn_hpo.spec.study import Study, load_study
from grownn_hpo.store.arm import create_arm, created_arm, read_arm, read_environment, read_workers
from grownn_hpo.store.paths import ArmFolder

Driven = Callable[..., ArmRun]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return load_study(str(tmp_path / "tiny.yaml"))


@pytest.fixture
def driven(tmp_path: Path, study: Study) -> Iterator[Driven]:
    """Begins or goes on to drive the tiny arm in a folder of this name; all end with the test."""
    with ExitStack() as stack:

        def drive(name: str = "arm", device: str = "cpu", accept_environment: bool = False) -> ArmRun:
            folder = ArmFolder(tmp_path / "results" / name)
            arm = study.arms[0].model_copy(update={"device": device})
            if not folder.study_file.exists():
                create_arm(folder, arm, environment())
            return stack.enter_context(ArmRun(OpenArm(arm, folder, accept_environment)))

        yield drive


def answer(*runs: ArmRun, **different: object) -> Returned:
    """What a worker here would answer, but for what is `different` there."""
    report = Report(
        host="n1",
        job=None,
        versions=preflight.versions(environment()),
        cpu_capability="AVX2",
        gpus=(),
        tokens=tuple(run.token for run in runs),
        unwritable=(),
        clock=time.time(),
    )
    return Returned(json.dumps(asdict(replace(report, **different))))  # type: ignore[arg-type]


class TestGate:
    def test_the_first_worker_sets_the_measure(self, driven: Driven) -> None:
        run = driven()
        gate = Gate([run])
        before = read_environment(run.folder)
        assert read_workers(run.folder) is None
        assert gate.refusal(answer(run)) is None
        assert read_workers(run.folder) == {"cpu_capability": "AVX2", "gpu": None}
        assert (read_environment(run.folder), created_arm(run.folder)) == (before, run.arm)
        written = run.folder.environment_file.stat()
        assert gate.refusal(answer(run)) is None
        assert run.folder.environment_file.stat() == written

    def test_it_holds_for_every_later_driver(self, driven: Driven) -> None:
        run = driven()
        assert Gate([run]).refusal(answer(run)) is None
        said = Gate([run]).refusal(answer(run, host="n2", job="43", cpu_capability="AVX512"))
        assert said is not None
        first, *lines = said.splitlines()
        assert first == "the worker on n2 (Slurm job 43) must not train for this study:"
        (line,) = lines
        assert "its CPU's instruction set is AVX512, the study's workers so far had AVX2" in line
        assert "`directives` in the cluster profile" in line
        assert "--accept-environment" in line
        assert read_workers(run.folder) == {"cpu_capability": "AVX2", "gpu": None}

    def test_a_worker_that_is_refused_sets_no_measure(self, driven: Driven) -> None:
        run = driven()
        said = Gate([run]).refusal(answer(run, tokens=(None,)))
        assert said is not None
        assert said.startswith("the worker on n1 must not train for this study:\n  it does not see the results folder")
        assert read_workers(run.folder) is None

    def test_what_is_accepted_knowingly_is_the_measure_from_then_on(self, driven: Driven) -> None:
        run = driven(accept_environment=True)
        gate = Gate([run])
        assert gate.refusal(answer(run, cpu_capability="AVX512")) is None
        assert read_workers(run.folder) == {"cpu_capability": "AVX512", "gpu": None}
        said = gate.refusal(answer(run))
        assert said is not None
        assert "is AVX2, the study's workers so far had AVX512" in said
        # A driver that comes after takes over what was accepted, or again knowingly another.
        assert Gate([run]).refusal(answer(run)) is None
        assert read_workers(run.folder) == {"cpu_capability": "AVX2", "gpu": None}

    def test_accepting_another_machine_is_not_accepting_other_versions(self, driven: Driven) -> None:
        run = driven(accept_environment=True)
        said = Gate([run]).refusal(answer(run, versions=preflight.versions(environment()) | {"torch": "1.0"}))
        assert said is not None
        assert "torch is 1.0 there" in said

    def test_arms_driven_together_have_one_measure(self, driven: Driven) -> None:
        old, new = driven("old"), driven("new")
        assert Gate([old]).refusal(answer(old)) is None
        gate = Gate([old, new])
        said = gate.refusal(answer(old, new, cpu_capability="DEFAULT"))
        assert said is not None
        assert said.count("instruction set") == 1  # told once, not for each arm
        assert read_workers(new.folder) is None
        assert gate.refusal(answer(old, new)) is None
        assert read_workers(new.folder) == read_workers(old.folder) == {"cpu_capability": "AVX2", "gpu": None}

    def test_gpus_count_where_the_study_trains_on_them(self, driven: Driven) -> None:
        run = driven(device="cuda")
        gate = Gate([run])
        said = gate.refusal(answer(run))
        assert said is not None
        assert "it sees no GPU" in said
        assert gate.refusal(answer(run, gpus=("NVIDIA A100", "NVIDIA A100"))) is None
        assert read_workers(run.folder) == {"cpu_capability": "AVX2", "gpu": "NVIDIA A100"}
        said = gate.refusal(answer(run, gpus=("NVIDIA V100",)))
        assert said is not None
        assert "its GPU is NVIDIA V100, the study's workers so far had NVIDIA A100" in said

    @pytest.mark.parametrize(
        ("ending", "told"),
        [
            (
                Raised("ModuleNotFoundError", "No module named 'pydantic'", "Traceback ..."),
                "ModuleNotFoundError: No module named 'pydantic'",
            ),
            (Died(-11, "Fatal Python error"), "SIGSEGV\nFatal Python error"),
            (Died(1), "exit code 1"),
            (Stalled(300.2), "no answer for 300 s"),
            (OutOfMemory("held 9 GiB"), "out of memory: held 9 GiB"),
            (Lost("the launcher of attempts ended; it said: no space"), "it said: no space"),
        ],
    )
    def test_a_worker_that_cannot_answer_is_refused_with_the_cause(
        self, driven: Driven, ending: Ending, told: str
    ) -> None:
        said = Gate([driven()]).refusal(ending)
        assert said is not None
        assert said.startswith("a worker cannot even tell what it is: ")
        assert f"{told}\n" in said
        assert said.endswith("Is the same version of this program installed there?")

    def test_a_worker_here_passes_for_real(self, driven: Driven) -> None:
        runs = driven("one"), driven("two")
        with Inline(preflight=Gate(runs).preflight()) as dispatcher:
            deadline = time.monotonic() + 60
            while read_workers(runs[1].folder) is None:
                assert dispatcher.wait(0.1) == ()
                assert time.monotonic() < deadline
        assert read_workers(runs[0].folder) == {"cpu_capability": environment()["cpu_capability"], "gpu": None}


PROGRAMS = ("sbatch", "squeue", "scancel")
LOGIN_NODE = Site(1, profile=SlurmProfile(kind="slurm"), file="site.yaml")


@pytest.fixture
def login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with Slurm's programs, as far as looking for them goes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in PROGRAMS:
        (folder / program).touch(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def with_profile(**fields: object) -> Site:
    return replace(LOGIN_NODE, profile=SlurmProfile(kind="slurm", **fields))  # type: ignore[arg-type]


class TestCheck:
    def refused(self, site: Site, study: Study, device: str = "cpu") -> str:
        arms = [arm.model_copy(update={"device": device}) for arm in study.arms]
        with pytest.raises(InputError) as refused:
            site.check(arms, "tiny.yaml", Path("results/tiny"))
        assert refused.value.exit_code == 2
        return str(refused.value)

    @pytest.mark.usefixtures("login_node")
    def test_a_login_node_will_do(self, study: Study) -> None:
        for site in (LOGIN_NODE, with_profile(interface="lo")):
            site.check(study.arms, "tiny.yaml", Path("results/tiny"))
        cuda = [arm.model_copy(update={"device": "cuda"}) for arm in study.arms]
        with_profile(gpus=1).check(cuda, "tiny.yaml", Path("results/tiny"))

    @pytest.mark.usefixtures("login_node")
    def test_a_study_for_gpus_needs_a_profile_with_some(self, study: Study) -> None:
        assert self.refused(LOGIN_NODE, study, "cuda") == (
            "site.yaml: gpus = 0: the study trains on `device: cuda`: ask for at least one, or change tiny.yaml"
        )

    def test_a_study_for_gpus_needs_a_machine_with_a_driver(
        self, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(site_module, "NVIDIA_DRIVER", tmp_path / "version")
        here = Site(1)
        assert not here.has_gpus
        assert self.refused(here, study, "cuda").startswith(
            "tiny.yaml: device = 'cuda': this machine has no NVIDIA driver"
        )
        here.check([arm.model_copy(update={"device": "cpu"}) for arm in study.arms], "tiny.yaml", Path("results/tiny"))
        (tmp_path / "version").touch()
        assert here.has_gpus
        here.check([arm.model_copy(update={"device": "cuda"}) for arm in study.arms], "tiny.yaml", Path("results/tiny"))
        assert not LOGIN_NODE.has_gpus  # what this machine has says nothing of the nodes

    @pytest.mark.parametrize("program", PROGRAMS)
    def test_a_machine_without_slurm_is_no_login_node(self, study: Study, login_node: Path, program: str) -> None:
        (login_node / program).unlink()
        assert self.refused(LOGIN_NODE, study) == (
            f"site.yaml: kind = 'slurm': there is no `{program}` here: run this on a login node of the cluster"
        )

    @pytest.mark.usefixtures("login_node")
    def test_an_interface_that_this_machine_has_not(self, study: Study) -> None:
        said = self.refused(with_profile(interface="nosuch0"), study)
        assert said.startswith("site.yaml: interface = 'nosuch0': this machine has no such network interface; it has ")
        assert "lo" in said.partition("it has ")[2].split(", ")


@pytest.mark.parametrize(("gpus", "device"), [(False, "cpu"), (True, "cuda")])
def test_auto_is_settled_once_by_where_the_study_begins(study: Study, tmp_path: Path, gpus: bool, device: str) -> None:
    assert study.arms[0].device == "auto"
    results = tmp_path / "results"
    (opened,) = open_study(study, study.arms, results, slots=1, gpus=gpus)
    assert opened.arm.device == device
    assert read_arm(opened.folder).device == device
    (again,) = open_study(study, study.arms, results, slots=1, gpus=not gpus)
    assert again.arm == opened.arm


def test_what_the_study_says_itself_is_left(study: Study, tmp_path: Path) -> None:
    arms = [arm.model_copy(update={"device": "cpu"}) for arm in study.arms]
    (opened,) = open_study(study, arms, tmp_path / "results", slots=1, gpus=True)
    assert opened.arm.device == "cpu"
