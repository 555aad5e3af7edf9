"""Bad input: exit code 2, nothing on stdout, and one whole sentence on stderr that says what is allowed."""

from __future__ import annotations

import json

import pytest

from workbench import devices, models

TECHNIQUES = (
    "allocator, dtype, fused_qkv, quantization, lora, attention, vae_tiling, vae_slicing, vae_attention_slicing, decode_chunks, "
    "steps, cache, cfg, temporal_chunks, offload, compile"
)

CAPS = [
    (["--vram-gb", "0"], "vram_gb must be a positive number of GiB, got 0.0"),
    (["--vram-gb", "-3"], "vram_gb must be a positive number of GiB, got -3.0"),
    (["--vram-gb", "nan"], "vram_gb must be a positive number of GiB, got nan"),
    (["--vram-gb", "twelve"], "--vram-gb must be a number, got 'twelve'"),
    (["--vram-gb", ""], "--vram-gb must be a number, got ''"),
    (["--ram-gb", "0"], "ram_gb must be a positive number of GiB, got 0.0"),
    (["--ram-gb", "lots"], "--ram-gb must be a number, got 'lots'"),
    (["--vram-gb", "1000"], "vram_gb=1000.0 is above the 180 GiB of b200, the largest card in the catalogue"),
    (
        ["--device", "rtx-3060-12gb", "--vram-gb", "16"],
        "a memory cap of 16.00 GiB is above the 12.00 GiB of rtx-3060-12gb (NVIDIA GeForce RTX 3060 12 GB)",
    ),
    (
        ["--device", "rtx-4099"],
        f"unknown device 'rtx-4099': did you mean rtx-4090, rtx-5090, rtx-4080? ({len(devices.names())} are known)",
    ),
]
WORKLOADS = [
    (
        ["--model", "wan2.1-t2v-1.4b"],
        "unknown model 'wan2.1-t2v-1.4b': did you mean wan2.1-t2v-14b, wan2.1-t2v-1.3b, wan2.2-t2v-a14b? "
        f"({len(models.names())} are known)",
    ),
    (["--frames", "80"], "wan2.1-t2v-1.3b makes 4*k+1 frames, got 80: nearest are 77 and 81"),
    (["--frames", "0"], "frames must be a whole number of at least 1, got 0"),
    (["--frames", "ten"], "--frames must be a whole number, got 'ten'"),
    (["--frames", "8.5"], "--frames must be a whole number, got '8.5'"),
    (
        ["--height", "481"],
        "height must be a positive multiple of 16 for wan2.1-t2v-1.3b, got 481: nearest are 480 and 496",
    ),
    (
        ["--width", "-16"],
        "width must be a positive multiple of 16 for wan2.1-t2v-1.3b, got -16: nearest is 16",
    ),
    (["--steps", "0"], "steps must be a whole number of at least 1, got 0"),
    (["--steps", "x"], "--steps must be a whole number, got 'x'"),
    (["--guidance", "-1"], "guidance must be a finite number of at least 0, got -1.0"),
    (["--guidance", "high"], "--guidance must be a number, got 'high'"),
    (["--batch", "0"], "batch must be a whole number of at least 1, got 0"),
]
SETTINGS = [
    ('{"offload":', "settings is not JSON: Expecting value at line 1 column 12"),
    ("nowhere.json", "settings file 'nowhere.json' cannot be read: No such file or directory"),
    ("[1]", "settings must be a JSON object of technique ids, got list"),
    ('{"offlaod": {}}', f"unknown technique 'offlaod': did you mean offload? (all: {TECHNIQUES})"),
    (
        '{"offload": {"mod": "model"}}',
        "unknown parameter of offload 'mod': did you mean mode? (all: mode, blocks_per_group, stream, components, "
        "offload_type, low_cpu_mem_usage, disk, resident_blocks)",
    ),
    (
        '{"offload": {"mode": "modell"}}',
        "unknown mode of offload 'modell': did you mean model, none? (all: none, model, sequential, group)",
    ),
    ('{"steps": {"count": 0}}', "count of steps must be a whole number of at least 1, got 0"),
    (
        '{"dtype": {"transformer": "fp16"}, "quantization": {"transformer": "int4wo"}}',
        "quantization int4wo of transformer takes bf16 weights only, and dtype sets transformer to fp16",
    ),
    (
        '{"quantization": {"transfromer": "int8wo"}}',
        "unknown component of wan2.1-t2v-1.3b 'transfromer': did you mean transformer, text_encoder? "
        "(all: text_encoder, transformer, vae)",
    ),
]


@pytest.mark.parametrize("command", ["plan", "estimate"])
@pytest.mark.parametrize(("arguments", "message"), CAPS + WORKLOADS)
def test_a_cap_or_workload_that_is_none(run, command, arguments, message):
    assert run(command, *arguments) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(("settings", "message"), SETTINGS)
def test_settings_that_cannot_be_used(run, settings, message):
    assert run("estimate", "--settings", settings) == (2, "", f"error: {message}\n")


def test_a_settings_file_that_is_not_text(run, tmp_path):
    path = tmp_path / "settings.json"
    path.write_bytes(b"\xff\xfe{}")
    assert run("estimate", "--settings", str(path)) == (
        2,
        "",
        f"error: settings file {str(path)!r} is not text in UTF-8\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "speed"], "objectives must be some of time, quality, got ('speed',)"),
        (["--trials", "-1"], "trials must be a whole number of at least 0, got -1"),
        (["--trials", "many"], "--trials must be a whole number, got 'many'"),
        (["--seed", "x"], "--seed must be a whole number, got 'x'"),
        (["--max-seconds", "0"], "max_seconds must be a positive number of seconds, got 0.0"),
        (["--max-seconds", "soon"], "--max-seconds must be a number, got 'soon'"),
        (["--min-quality", "101"], "min_quality must be a number of per cent from 0 to 100, got 101.0"),
        (["--min-quality", "good"], "--min-quality must be a number, got 'good'"),
    ],
)
def test_a_search_that_cannot_be_made(run, arguments, message):
    assert run("plan", *arguments) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "x"], "--seed must be a whole number, got 'x'"),
        (
            ["--profile", "nowhere.json"],
            "there is no profile 'nowhere.json': pass the path of a file that Profile.save wrote",
        ),
        (["--out", "clip.avi"], "the video's file name must end in .mp4, got 'clip.avi'"),
    ],
)
def test_a_run_that_cannot_be_made(run, arguments, message):
    assert run("generate", *arguments) == (2, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "many"], "--repeats must be a whole number, got 'many'"),
        (["--repeats", "0"], "repeats must be a whole number of at least 1, got 0"),
        (["--warmup", "-1"], "warmup must be a whole number of at least 0, got -1"),
        (["--limit-s", "0"], "limit_s must be a number above 0, got 0.0"),
        (["--again", "some"], "again must be one of nothing, failed, all, got 'some'"),
        (["--out", "m.json"], "the record's file name must end in .nc, got 'm.json'"),
        (
            ["--settings", "{"],
            "settings is not JSON: Expecting property name enclosed in double quotes at line 1 column 2",
        ),
        (["--baseline", '{"steps": 0}'], None),
        (["--frames", "6"], "tiny makes 4*k+1 frames, got 6: nearest are 5 and 9"),
    ],
)
def test_a_measurement_that_cannot_be_made(run, monkeypatch, arguments, message):
    monkeypatch.setattr("workbench.measurement._sources.run_fresh", lambda *_, **__: pytest.fail("it ran"))
    code, out, err = run("measure", "--model", "tiny", *arguments)
    assert (code, out) == (2, "") and (message is None or err == f"error: {message}\n"), err


@pytest.mark.parametrize("command", ["plan", "estimate"])
def test_a_result_that_cannot_be_written_is_said_before_the_work(run, command, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the work was done")

    monkeypatch.setattr("workbench._plan.plan", never)
    monkeypatch.setattr("workbench._estimate.estimate", never)
    out = tmp_path / "nowhere" / "x.json"
    assert run(command, "--out", str(out)) == (
        2,
        "",
        f"error: cannot write {str(out)!r}: there is no folder {str(out.parent)!r}\n",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plans"], "No such command 'plans'."),
        (["plan", "--vramgb", "12"], "No such option: --vramgb"),
        (["plan", "--steps"], "Option '--steps' requires an argument."),
    ],
)
def test_a_command_line_that_is_none(run, arguments, message):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    # the parser adds suggestions of its own, which are not ours to promise
    assert err.startswith(f"error: {message}".removesuffix(".")) and err.count("\n") == 1


def test_with_json_an_error_leaves_stdout_empty(run):
    assert run("estimate", "--json", "--steps", "0") == (
        2,
        "",
        "error: steps must be a whole number of at least 1, got 0\n",
    )


def test_a_message_of_several_lines_becomes_one(run, monkeypatch):
    from workbench._errors import RehearsalError

    def fails(*args, **kwargs):
        raise RehearsalError("the pipeline asked for\n  something")

    monkeypatch.setattr("workbench._estimate.estimate", fails)
    assert run("estimate") == (1, "", "error: the pipeline asked for something\n")


def test_ctrl_c_is_no_traceback(run, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench._estimate.estimate", interrupted)
    code, out, err = run("estimate")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_the_techniques_are_these():
    # the messages above name them all
    from workbench.techniques import ALL

    assert json.dumps([technique.id for technique in ALL]) == json.dumps(TECHNIQUES.split(", "))
