"""`--pin` and `--forbid`: how their texts are read."""

from __future__ import annotations

import pytest

from workbench._cli._options import pins
from workbench._errors import InputError


def test_texts_become_what_plan_takes() -> None:
    assert pins(None) is None
    assert pins(["steps=30", "offload=model", "vae_tiling"]) == {
        "steps": 30,
        "offload": "model",
        "vae_tiling": {},
    }
    assert pins(["quantization.transformer=int8wo", "quantization.text_encoder=nf4"]) == {
        "quantization": {"transformer": "int8wo", "text_encoder": "nf4"}
    }
    assert pins(['offload={"mode": "group", "stream": true}']) == {
        "offload": {"mode": "group", "stream": True}
    }


@pytest.mark.parametrize("text", ["", "=3", "steps=", "quantization.transformer"])
def test_a_text_that_is_no_pin_is_said(text: str) -> None:
    with pytest.raises(InputError, match=r"--pin must be TECHNIQUE, TECHNIQUE=VALUE or TECHNIQUE.KEY=VALUE"):
        pins([text])


def test_a_technique_is_pinned_once() -> None:
    with pytest.raises(InputError, match="--pin steps is given twice: 30 and 40"):
        pins(["steps=30", "steps=40"])


def test_the_plan_has_them(run) -> None:
    ran = run(
        "plan",
        "--model",
        "tiny",
        "--vram-gb",
        "12",
        "--pin",
        "steps=3",
        "--forbid",
        "vae_tiling",
        "--trials",
        "0",
        "--json",
    )
    assert ran.code == 0
    assert '"pin": {\n    "steps": {\n      "count": 3' in ran.out
    assert run("plan", "--model", "tiny", "--forbid", "nothing").code == 2
