"""The techniques that trade memory, time and quality, and `Settings`, one value for each that is in use.

A technique is one file, a frozen dataclass of its parameters; `README.md` lists them and says how to add one.
"""

from workbench._errors import UnknownNameError
from workbench.techniques._apply import apply_all as apply_all
from workbench.techniques._conflicts import CONFLICTS as CONFLICTS
from workbench.techniques._settings import Settings as Settings
from workbench.techniques._settings import native_attention_kernel as native_attention_kernel
from workbench.techniques._technique import EXACT as EXACT
from workbench.techniques._technique import UNKNOWN as UNKNOWN
from workbench.techniques._technique import AbstractTechnique as AbstractTechnique
from workbench.techniques._technique import Effect as Effect
from workbench.techniques._technique import Handle as Handle
from workbench.techniques.allocator import Allocator as Allocator
from workbench.techniques.attention import Attention as Attention
from workbench.techniques.cache import Cache as Cache
from workbench.techniques.cfg import Cfg as Cfg
from workbench.techniques.compile import Compile as Compile
from workbench.techniques.decode_chunks import DecodeChunks as DecodeChunks
from workbench.techniques.dtype import Dtype as Dtype
from workbench.techniques.fused_qkv import FusedQkv as FusedQkv
from workbench.techniques.lora import Lora as Lora
from workbench.techniques.offload import Offload as Offload
from workbench.techniques.quantization import Quantization as Quantization
from workbench.techniques.steps import Steps as Steps
from workbench.techniques.temporal_chunks import TemporalChunks as TemporalChunks
from workbench.techniques.vae_attention_slicing import VaeAttentionSlicing as VaeAttentionSlicing
from workbench.techniques.vae_slicing import VaeSlicing as VaeSlicing
from workbench.techniques.vae_tiling import VaeTiling as VaeTiling

ALL: tuple[type[AbstractTechnique], ...] = (
    Allocator,
    Dtype,
    FusedQkv,
    Quantization,
    Lora,
    Attention,
    VaeTiling,
    VaeSlicing,
    VaeAttentionSlicing,
    DecodeChunks,
    Steps,
    Cache,
    Cfg,
    TemporalChunks,
    Offload,
    Compile,
)
"""Every technique, in the order in which they are applied, and undone backwards.

The allocator first, before anything is allocated. Then weights, as loading would give them (dtype), then joined (fused projections) and
packed (quantisation), with adapters (lora) beside them, so that offloading, last, moves what is really stored.
Temporal chunks wrap the denoiser before offloading does: accelerate re-installs its hooks after every call and keeps what is below them.
So does a cache, whose hooks sit on the blocks; a block that is skipped is still fetched. Cfg stands around the calls that a cache sees,
so that each half of a batch has a cache of its own. Compilation is last: what it traces is the network as all others have left it.
"""

ORDER: tuple[str, ...] = tuple(technique.id for technique in ALL)


def get(name: str) -> type[AbstractTechnique]:
    """The technique of this id.

    Raises:
        UnknownNameError: there is none; the nearest names are offered.
    """
    for technique in ALL:
        if technique.id == name:
            return technique
    raise UnknownNameError.of("technique", name, ORDER)
