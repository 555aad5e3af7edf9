"""`workbench profiles`: what ships is listed, shown, compared and written."""

from __future__ import annotations

import json

from workbench.profiles import Profile, load_shipped, shipped_models

MODEL = "ltx-video"


def test_list_has_every_model_at_every_size(run):
    listed = run("profiles")
    assert listed.code == 0
    assert all(name in listed.out for name in shipped_models())
    found = json.loads(run("profiles", "list", "--json").out)["profiles"]
    assert [entry["model"] for entry in found] == list(shipped_models())
    assert [entry["vram_gb"] for entry in found[0]["entries"]] == list(load_shipped(found[0]["model"]).sizes)


def test_list_of_one_size_or_model_has_the_settings(run):
    shown = run("profiles", "list", "--vram-gb", "13").out
    assert f"{MODEL}@12" in shown and f"{MODEL}@16" not in shown
    shown = run("profiles", "list", "--model", MODEL).out
    assert f"{MODEL}@6" in shown and f"{MODEL}@80" in shown
    answer = run("profiles", "list", "--model", "nobody")
    assert answer.code == 2 and "unknown model with shipped profiles 'nobody'" in answer.err


def test_show_is_the_profile(run):
    shown = run("profiles", "show", f"{MODEL}@24", "--json")
    data = json.loads(shown.out)
    assert data.pop("stale") in (None, load_shipped(MODEL).stale())
    assert Profile.from_json(data) == load_shipped(MODEL).profile(24)
    text = run("profiles", "show", f"{MODEL}@24").out
    assert "required VRAM" in text and "denoise" in text and "LTXPipeline" in text


def test_diff_of_two_sizes_and_of_a_file(run, tmp_path):
    file = tmp_path / "mine.json"
    assert run("profiles", "apply", f"{MODEL}@8", "--out", str(file)).code == 0
    same = json.loads(run("profiles", "diff", f"{MODEL}@8", str(file), "--json").out)
    assert same["settings"] == {}
    assert {number["difference"] for number in same["predicted"].values()} == {0.0}
    first, second = (load_shipped(MODEL).profile(size) for size in (8, 80))
    found = json.loads(run("profiles", "diff", f"{MODEL}@8", f"{MODEL}@80", "--json").out)
    for name, (left, right) in found["settings"].items():
        assert left != right
        assert (first.settings.get(name), second.settings.get(name)) == (left, right)
    seconds = [profile.prediction["time"]["total_s"] for profile in (first, second)]
    assert found["predicted"]["total_s"]["difference"] == seconds[1] - seconds[0]
    text = run("profiles", "diff", f"{MODEL}@8", f"{MODEL}@80").out
    assert "× as fast" in text and "required VRAM" in text


def test_apply_writes_tries_and_says_the_lines(run, tmp_path):
    file = tmp_path / "card.json"
    found = json.loads(
        run("profiles", "apply", f"{MODEL}@6", "--out", str(file), "--to", MODEL, "--json").out
    )
    assert Profile.load(file) == load_shipped(MODEL).profile(6)
    assert found["written"] == str(file) and found["applied_to"] == MODEL
    assert any("VAE" in sentence or "vae" in sentence for sentence in found["report"])
    compile("\n".join(found["python"]), "lines", "exec")
    assert any(f"wb.Profile.load({str(file)!r})" in line for line in found["python"])
    text = run("profiles", "apply", f"{MODEL}@6").out
    assert f"wb.Profile.shipped('{MODEL}', vram_gb=6)" in text


def test_apply_to_another_pipeline_is_bad_input(run, tmp_path):
    answer = run("profiles", "apply", f"{MODEL}@6", "--to", "tiny")
    assert answer.code == 2 and "this profile is for LTXPipeline" in answer.err
    answer = run("profiles", "apply", f"{MODEL}@6", "--out", str(tmp_path / "none" / "p.json"))
    assert answer.code == 2 and "there is no folder" in answer.err
