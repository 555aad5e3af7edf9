"""Caches: each kind acts on each family that it says it does, is predicted op for op there, and says what it did."""

from __future__ import annotations

import dataclasses

import pytest

from workbench._errors import SettingsError
from workbench.cost.rehearsal import Target, record, rehearse
from workbench.devices import get as get_device
from workbench.models import get as get_model
from workbench.models import names as model_names
from workbench.techniques import Cache, Cfg, Settings, apply_all
from workbench.techniques._cache_kinds import DENOISERS, KINDS
from workbench.techniques._mag_ratios import MAG_RATIOS
from workbench.testing import contract
from workbench.testing.contract import Miniature
from workbench.testing.toys import TOYS, Toy

FALLING = (1.0, *(1 - 0.002 * step for step in range(1, 9)))
ALWAYS = Cache(kind="first_block", threshold=1e9, hit_rate=1.0)
"""Data and rate agree: every call that can be skipped is."""
KINDS_AT_WORK = (
    ALWAYS,
    Cache(kind="taylorseer"),
    Cache(kind="taylorseer", lite=False, interval=3, order=2),
    Cache(kind="magcache", mag_ratios=FALLING),
    Cache(kind="pab", timesteps=(0, 990)),
    Cache(kind="fastercache", timesteps=(0, 1001)),  # the first timestep too, where diffusers' own hooks fail
)
pytestmark = [
    pytest.mark.filterwarnings("ignore:In CPU autocast"),  # Mochi switches it off by asking for fp32
    pytest.mark.filterwarnings("ignore:torch.meshgrid"),  # diffusers' FasterCache
]
PREDICTED = tuple(name for name in TOYS if name != "mochi")
"""Families whose plain run on the CPU is predicted op for op, so that a cache can be held to it."""


def name(technique):
    return Settings.of([technique]).canonical()


@pytest.fixture(scope="module")
def miniature():
    """One of its own: diffusers' own switch for caches, which a test here uses, leaves forwards on the instances."""
    return Miniature()


@pytest.fixture(scope="module")
def families():
    return {}


def family(families, which):
    if which not in families:
        families[which] = Toy(which)
    return families[which]


def flops(miniature, *techniques):
    settings = Settings.of(techniques)
    handle = apply_all(miniature.pipe, settings)
    try:
        return record(miniature.pipe, miniature.call_kwargs(settings)).flops
    finally:
        handle.remove()


@pytest.mark.parametrize("cache", KINDS_AT_WORK, ids=name)
@pytest.mark.parametrize("which", PREDICTED)
def test_a_cache_keeps_the_contract_on_other_families(families, which, cache):
    miniature = family(families, which)
    if cache.applies_to(miniature.spec, None) is not None:
        pytest.skip("refused, as the next test holds")
    contract.assert_restores(miniature, cache)
    contract.assert_predicts(miniature, cache)
    if which != "kandinsky":  # the gates of its blocks begin at zero: what they skip adds nothing
        contract.assert_output(miniature, cache)


@pytest.mark.parametrize("cache", KINDS_AT_WORK, ids=name)
@pytest.mark.parametrize("which", TOYS)
def test_a_cache_acts_where_it_is_said_to(families, which, cache):
    miniature = family(families, which)
    reason = cache.applies_to(miniature.spec, None)
    if reason is None:
        if which not in families.setdefault("flops", {}):
            families["flops"][which] = flops(miniature)
        assert flops(miniature, cache) < 0.999 * families["flops"][which]
    else:
        with pytest.raises(SettingsError) as caught:
            apply_all(miniature.pipe, Settings.of([cache]))
        assert str(caught.value) == f"cache: {reason}"


def test_every_class_of_the_table_that_can_be_small_is_tried():
    tried = {spec.component("transformer").class_name for spec, _ in TOYS.values()}
    # the miniature's; and three with inputs or text encoders of their own
    others = {"WanTransformer3DModel", "WanVACETransformer3DModel"}
    others |= {"HunyuanVideo15Transformer3DModel", "LTX2VideoTransformer3DModel"}
    assert tried | others == set(DENOISERS)


def test_attention_is_not_passed_from_one_branch_of_guidance_to_the_other(families):
    """Wan and its relatives make two calls per step. A hook with one state would compute each cond and reuse it for each uncond."""
    miniature = family(families, "skyreels")
    every_other = Cache(kind="pab", interval=2, timesteps=(-1, 1001))
    pipe = miniature.pipe
    handle = apply_all(pipe, Settings.of([every_other]))
    computed = []
    attention = pipe.transformer.blocks[0].attn1
    processor = attention.processor

    class Noting:
        def __call__(self, *args, **kwargs):
            context = attention._diffusers_hook.hooks["pyramid_attention_broadcast"].states.context
            computed.append((context.name, context.step_index))
            return processor(*args, **kwargs)

    attention.processor = Noting()
    try:
        pipe(**miniature.call_kwargs(Settings()))
    finally:
        attention.processor = processor
        handle.remove()
    branches = [branch for branch, _ in computed]
    assert branches == ["cond", "uncond"] * 5  # of nine steps, the first, third, fifth, seventh and ninth


@pytest.mark.parametrize(("rate", "skipped"), [(0.0, 0), (0.25, 2), (0.38, 3), (0.5, 4), (0.7, 5), (1.0, 8)])
def test_without_data_calls_are_skipped_evenly_at_the_rate(miniature, rate, skipped):
    settings = Settings.of([Cache(kind="first_block", hit_rate=rate)])
    pipe = miniature.weightless()
    apply_all(pipe, settings)
    kwargs = miniature.call_kwargs(settings, num_inference_steps=9, output_type="latent")
    trace, _ = rehearse(pipe, kwargs, Target())
    calls = [event[1] for event in trace.events if event[0] == 3 and event[1].name == "WanTransformer3DModel"]
    assert len(calls) == 18  # two branches, nine steps, of which the first can not be skipped
    full = max(call.flops for call in calls)
    assert sum(call.flops < full for call in calls) == 2 * skipped
    assert len({id(call) for call in calls}) == 1 + (skipped > 0) + (
        skipped < 8
    )  # the first, skipped ones, others


def test_the_report_says_what_the_data_decided(miniature):
    for threshold, rate in ((0.0, "0.00"), (1e9, "1.00")):
        settings = Settings.of([Cache(kind="first_block", threshold=threshold)])
        handle = apply_all(miniature.pipe, settings)
        assert handle.report == [f"transformer caches with first_block (3 hooks, threshold {threshold:g})"]
        miniature.frames(settings)
        handle.remove()
        skipped = 2 if threshold else 0
        assert handle.report[1:] == [
            f"transformer skipped {skipped} of 2 calls that could be skipped: a hit rate of {rate}, where 0.38 was assumed"
        ]


def test_nothing_is_kept_once_the_last_step_is_made(miniature):
    pipe = miniature.pipe
    handle = apply_all(pipe, Settings.of([ALWAYS]))
    manager = pipe.transformer.blocks[0]._diffusers_hook.hooks["fbc_leader_block_hook"].state_manager
    kept = []

    def note(pipe, step, timestep, tensors):
        kept.append(sorted(manager._state_cache))
        return {}

    try:
        pipe(**miniature.call_kwargs(Settings()), callback_on_step_end=note)
    finally:
        handle.remove()
    assert kept == [["cond", "uncond"], []]


def test_a_cache_costs_memory_and_saves_compute_in_a_prediction(miniature):
    from workbench import estimate
    from workbench.models import Workload

    workload = Workload.for_model(get_model("tiny"), steps=12)
    plain = estimate(workload, None, "rtx-4090")
    costs = {
        kind: estimate(workload, {"cache": {"kind": kind, **more}}, "rtx-4090")
        for kind, more in {"first_block": {}, "taylorseer": {"lite": False}, "pab": {}}.items()
    }
    base = next(stage for stage in plain.price.stages if stage.name == "denoise")
    for cost in costs.values():
        stage = next(stage for stage in cost.price.stages if stage.name == "denoise")
        assert stage.seconds < base.seconds
        assert stage.activations_bytes > base.activations_bytes
    assert "assumed" in costs["first_block"].notes[0]


@pytest.mark.parametrize("steps", [50, 40, 7, 2, 1])
def test_published_ratios_fit_any_number_of_steps(steps):
    from workbench.techniques._foreseen import Curve

    for ratios in MAG_RATIOS.values():
        assert ratios[0] == 1.0 and len(ratios) in (40, 50) and all(0.7 < ratio < 1.4 for ratio in ratios)
        curve = Curve(ratios)

        class States:
            class context:
                num_inference_steps = steps

        curve.states = States
        fitted = curve.fitted()
        assert len(fitted) == steps and fitted[0] == ratios[0]
        assert steps == 1 or fitted[-1] == ratios[-1]
        assert steps != len(ratios) or tuple(fitted) == ratios


WRONG = [
    ({"cache": {}}, "cache needs the parameter 'kind'"),
    (
        {"cache": {"kind": "pab", "hit_rate": 0.5}},
        "hit_rate of cache belongs to kind first_block, got kind 'pab'",
    ),
    (
        {"cache": {"kind": "pab", "threshold": 0.5}},
        "threshold of cache belongs to kind first_block or magcache, got kind 'pab'",
    ),
    (
        {"cache": {"kind": "first_block", "hit_rate": 1.5}},
        "hit_rate of cache must be a number between 0 and 1, got 1.5",
    ),
    (
        {"cache": {"kind": "first_block", "threshold": "low"}},
        "threshold of cache must be a number of at least 0, got 'low'",
    ),
    (
        {"cache": {"kind": "taylorseer", "interval": 0}},
        "interval of cache must be a whole number of at least 1, got 0",
    ),
    ({"cache": {"kind": "taylorseer", "lite": 1}}, "lite of cache must be true or false, got 1"),
    (
        {"cache": {"kind": "pab", "timesteps": [800, 100]}},
        "timesteps of cache must be two whole numbers, the lower one first, got (800, 100)",
    ),
    (
        {"cache": {"kind": "magcache"}},
        "cache magcache needs mag_ratios: the name of a model whose ratios are published (wan2.1-t2v-14b, wan2.1-t2v-1.3b, "
        "wan2.1-i2v-14b-480p, wan2.1-i2v-14b-720p, wan2.2-ti2v-5b, hunyuanvideo), or the numbers that one run with diffusers' "
        "MagCacheConfig(calibrate=True) prints",
    ),
    (
        {"cache": {"kind": "magcache", "mag_ratios": [1.0]}},
        "mag_ratios of cache must be a model's name or a list of at least 2 numbers, got (1.0,)",
    ),
    (
        {"cache": {"kind": "pab"}, "temporal_chunks": {"frames": 5}},
        "cache does not go with temporal_chunks: it would take each window of frames for a denoising step",
    ),
    (
        {"cache": {"kind": "pab"}, "cfg": {"mode": "batched"}},
        "cache does not go with cfg batched: the first step, in two calls, leaves it with one branch of guidance",
    ),
    (
        {"cache": {"kind": "fastercache"}, "cfg": {"mode": "sequential"}},
        "cache fastercache does not go with cfg sequential: it needs both branches of guidance in one call",
    ),
]


@pytest.mark.parametrize(("value", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_wrong_parameters_and_companions_get_a_sentence(value, message):
    with pytest.raises(SettingsError) as caught:
        Settings.parse(value)
    assert str(caught.value) == message


REFUSED = [
    (
        "wan2.2-t2v-a14b",
        {"kind": "magcache", "mag_ratios": [1.0, 0.9]},
        "magcache counts the steps of one denoiser, and here two share them",
    ),
    (
        "wan2.1-t2v-1.3b",
        {"kind": "magcache", "mag_ratios": "wan2.1-t2v-14b"},
        "its mag_ratios were measured on wan2.1-t2v-14b",
    ),
    (
        "tiny",
        {"kind": "pab", "temporal_interval": 2},
        "temporal_interval cannot act on WanTransformer3DModel: it has no attention over time apart from that over space",
    ),
    (
        "tiny",
        {"kind": "fastercache", "unconditional_interval": 2},
        "unconditional_interval cannot act on WanTransformer3DModel: "
        "diffusers cannot take the branches of guidance apart in its calls",
    ),
]


@pytest.mark.parametrize(("model", "parameters", "reason"), REFUSED)
def test_what_cannot_act_is_refused_with_a_reason(model, parameters, reason):
    with pytest.raises(SettingsError) as caught:
        Settings.parse({"cache": parameters}).check(get_model(model), get_device("rtx-4090"))
    assert str(caught.value) == f"cache does not apply to {model}: {reason}"


def test_a_published_curve_serves_its_own_model():
    assert len(set(MAG_RATIOS) & set(model_names())) >= 5
    for model in set(MAG_RATIOS) & set(model_names()):
        cache = Cache(kind="magcache", mag_ratios=model)
        assert cache.applies_to(get_model(model), None) is None


def test_unknown_denoisers_and_pipelines_in_sections_are_refused():
    from dataclasses import replace

    spec = get_model("tiny")
    part = replace(spec.component("transformer"), class_name="UNetMotionModel")
    unknown = replace(spec, components=(part,))
    assert ALWAYS.applies_to(unknown, None) == "UNetMotionModel is not known to take diffusers' caches"
    sections = replace(spec, pipeline_class="SkyReelsV2DiffusionForcingPipeline")
    assert "section by section" in (ALWAYS.applies_to(sections, None) or "")


def test_a_cache_that_is_on_already_is_left_alone(miniature):
    from diffusers import FirstBlockCacheConfig

    miniature.pipe.transformer.enable_cache(FirstBlockCacheConfig())
    try:
        with pytest.raises(SettingsError, match=r"^cache: transformer has a cache already \(FirstBlock"):
            apply_all(miniature.pipe, Settings.of([ALWAYS]))
        assert miniature.pipe.transformer.is_cache_enabled
    finally:
        miniature.pipe.transformer.disable_cache()


def test_guidance_that_is_off_gets_a_sentence(families):
    miniature = family(families, "allegro")
    settings = Settings.of([Cache(kind="fastercache")])
    handle = apply_all(miniature.pipe, settings)
    try:
        with pytest.raises(SettingsError, match=r"this run has none: guidance_scale is at most 1$"):
            miniature.pipe(**miniature.call_kwargs(settings, guidance_scale=1.0))
    finally:
        handle.remove()


def test_each_half_of_guidance_has_a_cache_of_its_own(families):
    miniature = family(families, "cogvideox")
    both = (ALWAYS, Cfg(mode="sequential"))
    contract.assert_restores(miniature, *both)
    contract.assert_predicts(miniature, *both)
    contract.assert_output(miniature, *both)
    handle = apply_all(miniature.pipe, Settings.of(both))
    miniature.frames(Settings())
    handle.remove()
    assert "transformer skipped 16 of 16 calls that could be skipped" in handle.report[1]


def test_every_kind_has_all_its_parameters_as_fields():
    fields = {field.name for field in dataclasses.fields(Cache)} - {"kind"}
    assert {name for kind in KINDS.values() for name in kind.defaults} == fields
