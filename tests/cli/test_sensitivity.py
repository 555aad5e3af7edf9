from __future__ import annotations

import json

import pytest

from workbench import records

SMALL = (
    "--model",
    "tiny",
    "--kind",
    "nf4",
    "--frames",
    "5",
    "--height",
    "32",
    "--width",
    "32",
    "--steps",
    "1",
    "--inputs",
    "1",
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clips", "few"], "--clips must be a whole number, got 'few'"),
        (["--kind", "nf5"], "nf5"),
        (["--model", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    code, out, err = run("sensitivity", "--model", "tiny", *arguments)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_a_scan_prints_its_order_and_a_mixed_quantisation(run, tmp_path):
    path = tmp_path / "scan.nc"
    asked = ("sensitivity", *SMALL, "--clips", "0", "--out", str(path), "--high-precision", "1")
    ran = run(*asked, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    order = found["kinds"]["nf4"]["order"]
    assert sorted(order) == sorted(found["layers"])
    mixed = found["settings"]["nf4"]["quantization"]["transformer"]
    assert (mixed["kind"], len(mixed["skip"])) == ("nf4", 1)
    assert records.load(path).attrs["component"] == "transformer"
    said = run(*asked)  # nothing is left to measure
    assert "nf4 on all layers:" in said.out
    assert said.out.index(order[0]) < said.out.index(order[-1])
