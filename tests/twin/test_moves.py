"""What the search takes to belong together, read off configurations alone; no library is imported."""

from __future__ import annotations

import pytest

from workbench.twin._leaves import Leaf
from workbench.twin._moves import CHANNELS, GROUPS, HEAD_DIM, LAYERS, VOCABULARY, WIDTH, moves_of


def leaves(component: str = "net", autoencoder: bool = False, **config: object) -> list[Leaf]:
    """The leaves of a configuration; `inner__key` is a key of a nested one."""
    return [Leaf(component, tuple(name.split("__")), value, autoencoder) for name, value in config.items()]


def first_options(found: list[Leaf]) -> dict[str, object]:
    """Every number that changes, under the first option of each move, as `component.key`."""
    return {
        ".".join((place[0], *place[1])): value
        for move in moves_of(found)
        for place, value in move.options[0].items()
    }


def together(found: list[Leaf], *names: str) -> bool:
    """Whether one move changes all of these."""
    wanted = set(names)
    return any(wanted <= {".".join((c, *path)) for c, path in move.options[0]} for move in moves_of(found))


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("num_layers", 30, "depth"),
        ("layers_per_block", (4, 3), "depth"),
        ("num_attention_heads", 40, "heads"),
        ("attention_head_dim", 128, "head_dim"),
        ("d_kv", 64, "head_dim"),
        ("vocab_size", 32128, "vocabulary"),
        ("image_token_index", 128257, "token"),
        ("block_out_channels", (128, 256), "channels"),
        ("dim_mult", (1, 2, 4), "multiples"),
        ("sample_height", 60, "extent"),
        ("hidden_size", 4096, "width"),
        ("text_dim", 4096, "width"),
        ("image_dim", 1280, "width"),
        ("patch_size", 14, "other"),
        ("image_size", 224, "other"),
        ("max_position_embeddings", 8192, "other"),
        ("spatial_compression_ratio", 32, "other"),
        ("layer_types", ("full", "sliding"), "words"),
    ],
)
def test_a_name_says_what_a_number_counts(name, value, kind):
    assert leaves(**{name: value})[0].kind == kind


def test_equal_widths_of_two_networks_change_together():
    found = leaves("text_encoder", d_model=4096) + leaves("transformer", text_dim=4096, ffn_dim=13824)
    assert together(found, "text_encoder.d_model", "transformer.text_dim")
    assert not together(found, "text_encoder.d_model", "transformer.ffn_dim")
    assert first_options(found)["transformer.text_dim"] == WIDTH


def test_a_width_that_the_heads_make_follows_them():
    found = leaves(num_attention_heads=40, attention_head_dim=128, added_kv_proj_dim=5120)
    assert together(found, "net.num_attention_heads", "net.attention_head_dim", "net.added_kv_proj_dim")
    small = first_options(found)
    assert (
        small["net.num_attention_heads"] * small["net.attention_head_dim"] == small["net.added_kv_proj_dim"]
    )
    assert small["net.attention_head_dim"] == HEAD_DIM


def test_a_width_is_still_divided_by_its_heads_where_their_size_is_not_given():
    small = first_options(leaves(hidden_size=3584, num_attention_heads=28, num_key_value_heads=4))
    assert small["net.hidden_size"] % small["net.num_attention_heads"] == 0
    assert small["net.num_attention_heads"] % small["net.num_key_value_heads"] == 0


def test_rotary_axes_still_add_up_to_a_head_or_to_half_of_one():
    axes = leaves(num_attention_heads=24, attention_head_dim=128, rope_axes_dim=(16, 56, 56))
    assert sum(first_options(axes)["net.rope_axes_dim"]) == HEAD_DIM
    sections = leaves(hidden_size=3584, num_attention_heads=28, rope__mrope_section=(16, 24, 24))
    assert sum(first_options(sections)["net.rope.mrope_section"]) == HEAD_DIM // 2


def test_axes_that_do_not_divide_keep_a_larger_head():
    options = [
        option
        for move in moves_of(leaves(num_attention_heads=8, attention_head_dim=96, axes_dims=(30, 33, 33)))
        for option in move.options
    ]
    sizes = {option[("net", ("attention_head_dim",))] for option in options}
    assert HEAD_DIM in sizes  # 30, 33 and 33 have the factor 3 in common, 96 / 3 is 32
    kept = moves_of(leaves(num_attention_heads=8, attention_head_dim=96, axes_dims=(31, 32, 33)))
    assert {move.options[0][("net", ("attention_head_dim",))] for move in kept} == {96}


def test_layers_and_what_is_listed_by_layer_shrink_together():
    found = leaves(
        num_hidden_layers=6,
        layer_types=("sliding", "sliding", "full", "sliding", "sliding", "full"),
        vace_layers=(0, 2, 4),
        fullatt_block_indexes=(3, 5),
    )
    small = first_options(found)
    assert small["net.num_hidden_layers"] == LAYERS
    assert small["net.layer_types"] == ("sliding", "full")  # one of each
    assert small["net.vace_layers"] == (0,)
    assert small["net.fullatt_block_indexes"] == (LAYERS - 1,)


def test_what_counts_hidden_states_is_one_more_than_the_layers():
    found = leaves("text_encoder", num_hidden_layers=48) + leaves("connectors", text_proj_in_factor=49)
    assert first_options(found)["connectors.text_proj_in_factor"] == LAYERS + 1


def test_a_concatenation_of_all_hidden_states_follows_layers_and_width():
    found = leaves("text_encoder", num_hidden_layers=28, hidden_size=3584) + leaves(
        "transformer", crossattn_proj_in_channels=28 * 3584
    )
    small = first_options(found)
    assert (
        small["transformer.crossattn_proj_in_channels"]
        == small["text_encoder.num_hidden_layers"] * small["text_encoder.hidden_size"]
    )


def test_special_tokens_stay_inside_a_small_vocabulary():
    small = first_options(
        leaves(text__vocab_size=128320, text__pad_token_id=128258, image_token_index=128257, bos_token_id=1)
    )
    tokens = [small["net.text.pad_token_id"], small["net.image_token_index"]]
    assert small["net.text.vocab_size"] == VOCABULARY
    assert len(set(tokens)) == 2 and all(1 < token < VOCABULARY for token in tokens)
    assert "net.bos_token_id" not in small


def test_an_autoencoder_gives_up_channels_and_groups_together():
    found = leaves("vae", True, block_out_channels=(128, 256, 512), norm_num_groups=32, latent_channels=16)
    move = next(move for move in moves_of(found) if move.kind == "convolution")
    first, second = ({place[1][0]: value for place, value in option.items()} for option in move.options[:2])
    assert first == {"block_out_channels": (GROUPS, 2 * GROUPS, 2 * GROUPS), "norm_num_groups": GROUPS}
    assert second == {"block_out_channels": (CHANNELS, 2 * CHANNELS, 2 * CHANNELS)}


def test_networks_with_the_same_channels_change_together():
    channels = (320, 640, 1280, 1280)
    found = leaves("unet", block_out_channels=channels) + leaves(
        "motion_adapter", block_out_channels=channels
    )
    assert together(found, "unet.block_out_channels", "motion_adapter.block_out_channels")


def test_a_third_of_a_number_that_stays_is_doubtful():
    found = leaves("unet", addition_time_embed_dim=256, projection_class_embeddings_input_dim=768)
    assert [move.is_doubtful for move in moves_of(found)] == [True]
    assert [move.is_doubtful for move in moves_of(leaves("unet", addition_time_embed_dim=256))] == [False]
