"""The command line: what it prints, what its JSON holds, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from workbench import __version__, devices, models
from workbench.devices import get
from workbench.testing.fakes import exact, fake_candidate, fake_cost, fake_plan, unknown

GIB = 2**30
SMALL = {"text_encode": (5.3, 0.1, 0.2), "denoise": (2.7, 1.5, 0.25), "decode": (0.5, 4.4, 0.6)}
MODEL_OFFLOAD = {"offload": {"mode": "model"}}
ESTIMATE_KEYS = {"workload", "device", "settings", "memory", "time", "quality", "versions"}
pytestmark = pytest.mark.usefixtures("fixed_residuals")


@pytest.fixture
def asked(monkeypatch):
    """Replaces the search by a plan made by hand; holds what it was asked."""
    cost = fake_cost(MODEL_OFFLOAD, effects=[exact("offload")], stages_gib=SMALL)
    calls = []

    def plan(vram_gb=None, **options):
        calls.append({"vram_gb": vram_gb, **options})
        print("a library talks")
        return fake_plan([fake_candidate(cost)])

    monkeypatch.setattr("workbench._plan.plan", plan)
    return calls


@pytest.fixture
def nothing_fits(monkeypatch):
    card = get("rtx-3060-12gb").capped(memory_bytes=2 * GIB)
    miss = fake_candidate(fake_cost(MODEL_OFFLOAD, device=card, stages_gib=SMALL))
    monkeypatch.setattr("workbench._plan.plan", lambda *args, **options: fake_plan([], misses=[miss]))


# --- plan -----------------------------------------------------------------------------------------------------------------


def test_plan_passes_on_what_was_given(run, asked):
    arguments = (
        "--model tiny --frames 5 --height 32 --width 48 --steps 3 --guidance 1.5 --batch 2 "
        "--vram-gb 12 --ram-gb 16 --desktop-gb 0.5"
    )
    search = "--objective time --max-seconds 60 --min-quality 97 --trials 5 --seed 7 --storage study.log"
    assert run("plan", *arguments.split(), *search.split()).code == 0
    assert asked == [
        {
            "vram_gb": 12.0,
            "model": "tiny",
            "frames": 5,
            "height": 32,
            "width": 48,
            "steps": 3,
            "guidance": 1.5,
            "batch": 2,
            "device": None,
            "ram_gb": 16.0,
            "desktop_gb": 0.5,
            "objectives": ("time",),
            "max_seconds": 60.0,
            "min_quality": 97.0,
            "trials": 5,
            "seed": 7,
            "storage": "study.log",
            "more": False,
        }
    ]


def test_plan_leaves_to_the_function_what_was_not_given(run, asked):
    run("plan", "--device", "h100-80gb")
    given = {"vram_gb": None, "model": models.DEFAULT_MODEL, "device": "h100-80gb"}
    assert asked == [{**given, "ram_gb": None, "desktop_gb": None, "seed": 0, "storage": None, "more": False}]


def test_plan_is_readable(run, asked):
    code, out, err = run("plan", "--vram-gb", "12")
    lines = out.splitlines()
    assert code == 0
    assert (
        "on a typical 12 GB card: NVIDIA GeForce RTX 3060 12 GB (rtx-3060-12gb), 12.00 GiB, PCIe 4.0 x16,"
        in lines
    )
    assert "✔ peak 5.60 GiB, fits 12.00 GiB with probability at least 0.98, about 6 min 05 s" in lines
    assert {"Best configuration", "Stages", "Memory", "Time", "Quality", "Front"} <= set(lines)
    assert "a library talks" in err and "a library talks" not in out


def test_plan_json_is_one_object(run, asked):
    code, out, err = run("plan", "--vram-gb", "12", "--json")
    found = json.loads(out)
    assert code == 0
    assert {"best", "front", "nearest_miss", "trials", "seconds"} <= set(found)
    assert set(found["best"]) >= ESTIMATE_KEYS
    assert found["nearest_miss"] is None
    assert err == "a library talks\n"


def test_plan_writes_the_best_as_a_profile(run, asked, tmp_path):
    from workbench.profiles import Profile

    out = tmp_path / "best.json"
    shown = run("plan", "--out", str(out))
    assert shown.out.splitlines()[-1] == f"profile written to {out}"
    assert Profile.load(out).settings == MODEL_OFFLOAD


def test_nothing_fits_is_exit_code_3(run, nothing_fits, tmp_path):
    out = tmp_path / "best.json"
    shown = run("plan", "--vram-gb", "2", "--out", str(out))
    assert shown.code == 3
    assert (
        "✘ nothing fits: the nearest miss needs 4.17 GiB too much VRAM (6.17 of 2.00 GiB)"
        in shown.out.splitlines()
    )
    assert shown.out.splitlines()[-1] == "no profile written"
    assert not out.exists()


def test_nothing_fits_in_json(run, nothing_fits):
    code, out, _ = run("plan", "--vram-gb", "2", "--json")
    found = json.loads(out)
    assert (code, found["best"], found["front"]) == (3, None, [])
    assert found["nearest_miss"]["memory"]["required_vram_gib"] == pytest.approx(6.16, abs=0.01)


# --- estimate -------------------------------------------------------------------------------------------------------------


def test_estimate_passes_on_what_was_given(run, monkeypatch):
    calls = []

    def estimate(workload, settings, device, **caps):
        calls.append((workload.frames, settings, device, caps))
        return fake_cost()

    monkeypatch.setattr("workbench._estimate.estimate", estimate)
    assert (
        run("estimate", "--frames", "5", "--settings", "{}", "--device", "rtx-4090", "--ram-gb", "8").code
        == 0
    )
    assert calls == [(5, "{}", "rtx-4090", {"vram_gb": None, "ram_gb": 8.0, "desktop_gb": None})]


def test_an_estimate_that_does_not_fit_is_an_answer(run, monkeypatch):
    monkeypatch.setattr(
        "workbench._estimate.estimate", lambda *args, **caps: fake_cost(effects=[unknown("steps")])
    )
    code, out, _ = run("estimate")
    assert code == 0
    assert "✘ does not fit: 0.19 GiB too much VRAM (12.19 of 12.00 GiB)" in out


def test_estimate_end_to_end(run, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text('{"vae_tiling": {}, "offload": {"mode": "model"}}')
    out = tmp_path / "cost.json"
    arguments = ["--model", "tiny", "--vram-gb", "12", "--settings", str(settings), "--out", str(out)]
    code, shown, _ = run("estimate", *arguments, "--json")
    found = json.loads(shown)
    assert code == 0
    assert set(found) >= ESTIMATE_KEYS
    assert set(found["memory"]) >= {
        "peak_allocated_gib", "peak_reserved_gib", "required_vram_gib", "host_ram_gib", "peak_stage", "stages",
        "fit_probability", "margin_gib", "margin_basis", "desktop_gib",
    }  # fmt: skip
    assert 0.98 <= found["memory"]["fit_probability"] < 1
    assert found["memory"]["desktop_gib"] == pytest.approx(400 / 1024)
    assert set(found["memory"]["stages"][0]) >= {
        "name",
        "weights_gib",
        "activations_gib",
        "peak_allocated_gib",
    }
    assert set(found["time"]) >= {"total_s", "low_s", "high_s", "basis", "stages"}
    assert [stage["name"] for stage in found["time"]["stages"]] == ["text_encode", "denoise", "decode"]
    assert found["device"]["name"] == "rtx-3060-12gb"
    assert json.loads(out.read_text()) == found


# --- generate -------------------------------------------------------------------------------------------------------------


def test_generate_passes_on_what_was_given(run, monkeypatch):
    from workbench._errors import InputError

    calls = []

    def generate(profile, **options):
        calls.append((str(profile), {**options, "progress": type(options["progress"]).__name__}))
        raise InputError("enough seen")

    monkeypatch.setattr("workbench.measurement.generate", generate)
    shown = run(
        "generate",
        "--profile",
        "p.json",
        "--prompt",
        "a cat",
        "--out",
        "c.mp4",
        "--seed",
        "3",
        "--frames",
        "9",
    )
    assert shown == (2, "", "error: enough seen\n")
    (profile, options) = calls[0]
    assert profile == "p.json"
    assert {**options, "out": str(options["out"])} == {
        "model": None,
        "prompt": "a cat",
        "negative_prompt": None,
        "out": "c.mp4",
        "seed": 3,
        "progress": "RichProgress",
        "frames": 9,
    }


def test_plan_then_generate_as_a_newcomer_does(tmp_path):
    """In processes of their own, as the shell runs them: plan, obey the profile, find the video and the numbers."""
    base = [sys.executable, "-m", "workbench"]
    profile, clip = tmp_path / "tiny.json", tmp_path / "clip.mp4"
    planning = [
        *base,
        "plan",
        "--model",
        "tiny",
        "--vram-gb",
        "12",
        "--trials",
        "4",
        "--out",
        str(profile),
        "--json",
    ]
    planned = subprocess.run(planning, capture_output=True, text=True, check=False, timeout=110)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["best"]["memory"]["required_vram_gib"] <= 12
    making = [*base, "generate", "--profile", str(profile), "--frames", "5", "--out", str(clip)]
    made = subprocess.run(making, capture_output=True, text=True, check=False, timeout=110)
    assert made.returncode == 0, made.stderr
    assert clip.stat().st_size > 0
    lines = made.stdout.splitlines()
    assert any(line.startswith("✔ made in ") for line in lines)
    assert {"Predicted and measured", "Memory", "Files"} <= set(lines)
    assert f"  · video {clip}" in lines


# --- catalogues and doctor ------------------------------------------------------------------------------------------------


def test_models_and_devices_list_every_name(run):
    shown = run("models").out
    assert all(name in shown for name in models.names())
    shown = run("devices").out
    assert all(f"\n {name} " in shown for name in devices.names())


def test_models_and_devices_in_json(run):
    listed = json.loads(run("models", "--json").out)["models"]
    assert [row["name"] for row in listed] == list(models.names())
    assert [row["name"] for row in listed if row["is_default"]] == [models.DEFAULT_MODEL]
    listed = json.loads(run("devices", "--json").out)["devices"]
    assert [row["name"] for row in listed] == list(devices.names())
    assert all(row["sources"]["bandwidth_bytes_per_s"] for row in listed)


def test_the_devices_table_names_no_document_it_does_not_know(run):
    rows = [
        line
        for line in run("devices").out.splitlines()
        if line.split()[:1] and line.split()[0] in devices.names()
    ]
    assert len(rows) == len(devices.names())
    assert not [row for row in rows if row.endswith("other")]


def test_doctor_says_what_is_there(run, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_CACHE_DIR", str(tmp_path))
    code, out, _ = run("doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["workbench"] == __version__
    assert found["versions"]["torch"]
    assert found["cache"] == {"folder": str(tmp_path / "traces"), "entries": 0, "bytes": 0, "writable": True}
    shown = run("doctor").out.splitlines()
    assert shown[0] == f"Doctor: workbench {__version__}"
    assert {"Machine", "Libraries", "Cache"} <= set(shown)


def test_doctor_reads_the_extras_that_the_package_declares(monkeypatch):
    from workbench.views import _doctor

    declared = ["torch>=2.8", "nothing-like-it>=1", 'bitsandbytes>=0.49; extra == "quantization"']
    monkeypatch.setattr(_doctor.metadata, "requires", lambda name: declared)
    found = _doctor.examine()
    assert list(found["versions"]) == ["torch", "nothing-like-it"]
    assert found["missing"] == ["nothing-like-it"]
    assert list(found["extras"]) == ["quantization"]
    assert _doctor.doctor_report(found).verdict == "missing: nothing-like-it"


# --- the rest -------------------------------------------------------------------------------------------------------------


def test_version_and_help(run):
    assert run("--version") == (0, f"workbench {__version__}\n", "")
    for arguments in ([], ["--help"], ["-h"]):
        code, out, _ = run(*arguments)
        assert code == 0
        for command in ("plan", "estimate", "generate", "measure", "models", "devices", "doctor"):
            assert command in out


@pytest.mark.parametrize("command", ["plan", "estimate"])
def test_help_names_every_option_of_the_contract(run, command):
    contract = "--model --frames --height --width --steps --guidance --batch --device --vram-gb --ram-gb --out --json"
    code, out, _ = run(command, "--help")
    assert code == 0
    assert [option for option in contract.split() if option not in out] == []


@pytest.mark.parametrize("arguments", ["--help", "plan --help", "models", "devices", "plan --vram-gb 0"])
def test_what_needs_nothing_heavy_imports_nothing_heavy(arguments):
    code = (
        "import sys; from workbench._cli import main; main(sys.argv[1:]); "
        "heavy = {'torch', 'diffusers', 'transformers', 'optuna', 'plotly', 'xarray'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments.split()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_terminal_without_the_characters_gets_others():
    code = "import sys; from workbench._cli import main; sys.exit(main(['models']))"
    environment = {"PYTHONIOENCODING": "ascii", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"480?832" in done.stdout


# --- explain --------------------------------------------------------------------------------------------------------------


def test_explain_names_what_is_alive_and_what_lowers_it(run):
    done = run("explain", "--model", "tiny", "--vram-gb", "8")
    assert done.code == 0
    assert "Alive at the peak" in done.out
    assert "cheapest first" in done.out
    data = json.loads(run("explain", "--model", "tiny", "--vram-gb", "8", "--json").out)
    assert {"stages", "changes", "peak_stage"} <= set(data)
    assert run("explain", "--model", "tiny", "--settings", '{"no": {}}').code == 2
