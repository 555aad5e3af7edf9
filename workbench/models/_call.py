"""The arguments with which a pipeline is called for a workload, read off the pipeline's own signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from workbench.models._quiet import quiet_imports
from workbench.models._spec import ModelSpec
from workbench.models._workload import Workload

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

PROMPT = (
    "A red fox runs through fresh snow at sunrise, low camera, the light catches the snow that it throws up."
)
NEGATIVE_PROMPT = "overexposed, static, blurred details, subtitles, worst quality, deformed"

# What pipelines call the same thing, the commonest name first.
FRAMES = ("num_frames", "video_length", "frames")
GUIDANCE = ("guidance_scale", "max_guidance_scale")
FPS = ("frame_rate", "fps")
VIDEOS = ("num_videos_per_prompt", "num_images_per_prompt")


def call_kwargs(spec: ModelSpec, workload: Workload, pipe: DiffusionPipeline) -> dict[str, Any]:
    """Arguments with which `pipe(**kwargs)` makes this workload, with stand-ins for prompt and images.

    `output_type` is `"pt"`: the default, `"np"` or `"pil"`, copies the frames out of the tensor, which a tensor without data refuses.
    Up to that copy all do the same, except that `"pt"` gathers the batch on the device where the others gather it in host RAM.
    A batch is that many prompts where there is a prompt: of `num_videos_per_prompt`, some pipelines take no notice (`CogVideoXPipeline`,
    diffusers 0.42), and others do not repeat an image's embeddings per video (`WanImageToVideoPipeline`), which their transformer refuses.
    """
    accepted = inspect.signature(type(pipe).__call__).parameters
    kwargs: dict[str, Any] = {
        name: value
        for name, value in (
            ("prompt", PROMPT),
            ("negative_prompt", NEGATIVE_PROMPT),
            ("height", workload.height),
            ("width", workload.width),
            ("num_inference_steps", workload.steps),
            ("output_type", "pt"),
        )
        if name in accepted
    }
    for names, value in ((FRAMES, workload.frames), (GUIDANCE, workload.guidance), (FPS, workload.fps)):
        name = _first(names, accepted)
        if name is not None:
            kwargs[name] = value
    if workload.guidance_2 is not None and spec.num_experts > 1 and "guidance_scale_2" in accepted:
        kwargs["guidance_scale_2"] = workload.guidance_2
    kwargs |= {name: STAND_IN_INPUTS[name](workload) for name in spec.inputs}
    if "controlnet_frame_indices" in accepted and "conditioning_frames" in kwargs:
        kwargs["conditioning_frames"] = kwargs["conditioning_frames"][
            :1
        ]  # by default it says one frame's place
    kwargs |= spec.call
    if workload.batch > 1:
        if "prompt" not in kwargs:
            kwargs[_first(VIDEOS, accepted) or VIDEOS[0]] = workload.batch
        for name in ("prompt", "negative_prompt"):
            if kwargs.get(name) is not None:
                kwargs[name] = [kwargs[name]] * workload.batch
    return kwargs


def set_guidance(workload: Workload, pipe: DiffusionPipeline) -> None:
    """Gives the scale to the pipeline's guider, where it has one and its call takes no scale."""
    guider = getattr(pipe, "guider", None)
    accepted = inspect.signature(type(pipe).__call__).parameters
    if guider is not None and _first(GUIDANCE, accepted) is None and "guidance_scale" in guider.config:
        with quiet_imports():
            pipe.guider = guider.new(guidance_scale=workload.guidance)


def _first(names: tuple[str, ...], accepted: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in accepted), None)


def _image(workload: Workload) -> Image.Image:
    return Image.new("RGB", (workload.width, workload.height))


def _video(workload: Workload) -> list[Image.Image]:
    return [_image(workload)] * workload.frames


def _mask(workload: Workload) -> list[Image.Image]:
    return [Image.new("L", (workload.width, workload.height), 255)] * workload.frames


STAND_IN_INPUTS: Mapping[str, Callable[[Workload], Any]] = {
    "image": _image,
    "last_image": _image,
    "video": _video,
    "control_video": _video,
    "pose_video": _video,
    "face_video": _video,
    "mask": _mask,
    "reference_images": lambda workload: [_image(workload)],
    "conditioning_frames": _video,
}
"""Arguments of a pipeline call -> what stands in for them: black pictures of the workload's size and number."""
