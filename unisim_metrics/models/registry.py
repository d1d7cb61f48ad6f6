"""The models that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unisim_metrics.images.preprocessing import Crop
from unisim_metrics.tasks import ATTRIBUTES, TASKS, Task, check_task


@dataclass(frozen=True)
class ModelEntry:
    """One named model.

    Attributes:
        name: The name that ``load_model`` takes.
        kind: ``"bundled"`` comes with the package; ``"published"`` is one of the authors' checkpoints;
            ``"clip"`` is a CLIP model of transformers on the Hub; ``"open_clip"`` a model of open_clip;
            ``"generative"`` a vision-language model of transformers on the Hub; ``"judge"`` a file of weights that a
            module of ``models.judges`` reads.
        description: One line.
        source: The Hub id, or the specification for open_clip; nothing for the other kinds.
        revision: The commit on the Hub that is loaded.
        base: The Hub id of the model that the checkpoint was trained from.
        drive_id: The authors' file on Google Drive.
        archive: Whether that file is an archive with a whole model, which is read without its base.
        crop: How half a pixel of the centre crop is rounded, where the paper's figures were not made as transformers
            does it: its baselines of LAION ran through open_clip's pipeline.
        processor: The Hub id whose processor it takes, of a model that is converted from its authors' layout.
        tasks: What it answers.
        reader: The module of ``models.judges`` that reads its file.
        file: That file or folder, in the Hub's repository or by hand from ``link``; nothing if it is the whole
            repository.
        link: Where a file is to be had that is not on the Hub.
        checksum: How the SHA-256 of that file begins, of one that ``link`` gives straight away.
        terms: What its weights may not be used for, where their licence says so.
        small: Whether two cores are enough for it and its file is all that it needs, so that it can be tried with
            random weights as well.
    """

    name: str
    kind: Literal["bundled", "published", "clip", "open_clip", "generative", "judge"]
    description: str
    source: str = ""
    revision: str | None = None
    base: str | None = None
    drive_id: str | None = None
    archive: bool = False
    crop: Crop | None = None
    processor: str = ""
    tasks: tuple[Task, ...] = TASKS
    reader: str = ""
    file: str = ""
    link: str = ""
    checksum: str = ""
    terms: str = ""
    small: bool = False


_LAION_B_32 = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
_OPENAI_L_14_336 = "openai/clip-vit-large-patch14-336"
_OPENAI_L_14 = "openai/clip-vit-large-patch14"

_PAC_S = "https://drive.google.com/drive/folders/15Da_nh7CYv8xfryIdETG6dPFSqcBiqpd"
_VGG_16 = "vgg16-397923af.pth"
_TORCHVISION = "https://download.pytorch.org/models"
# In transformers' layout, with the tokenizers of InternLM2 and of Qwen2.5 as InternVL adds to them.
_INTERNVL_LLAMA = "OpenGVLab/InternVL2_5-8B-MPO-hf"
_INTERNVL_QWEN = "OpenGVLab/InternVL3-38B-hf"
_LLAMA_2 = "tagged MIT, but tuned from Llama 2, whose community licence holds for them"
_NO_LICENCE = "their authors grant no licence, all rights are reserved"

# The base of an authors' checkpoint, by the rows of its position embedding. The paper says 336 px, the
# authors' README plain L/14: the file itself decides.
BASES = {50: _LAION_B_32, 257: _OPENAI_L_14, 577: _OPENAI_L_14_336}

_ENTRIES = (
    ModelEntry(
        "unisim-mini",
        "bundled",
        "Small two-tower model that comes with the package; EfficientNet-Lite2 and MiniLM, 224 px",
    ),
    ModelEntry(
        "unisim-vit-b-32",
        "published",
        "The paper's UniSim ViT-B/32, multi-task LoRA of CLIP",
        base=_LAION_B_32,
        drive_id="1z8fQ3KSrih-diYqm9O_NazotlFTo8fN3",
    ),
    ModelEntry(
        "unisim-vit-l-14",
        "published",
        "The paper's UniSim ViT-L/14, multi-task LoRA of CLIP",
        base=_OPENAI_L_14_336,
        drive_id="1exLFqZvantuiu4yx2FtdGb8OcolvFg_f",
    ),
    ModelEntry(
        "unisim-ll-n-0.5b",
        "published",
        "The paper's UniSim LL-N-0.5B, generative; LLaVA-NeXT-interleave trained on all tasks",
        base="lmms-lab/llava-next-interleave-qwen-0.5b",
        drive_id="1wUPBJ9-DqtmrlRDjfunckQlzf3PCMYIL",
        archive=True,
    ),
    ModelEntry(
        "clip-vit-b-32",
        "clip",
        "CLIP ViT-B/32 (LAION-2B), base of unisim-vit-b-32",
        source=_LAION_B_32,
        revision="1a25a446712ba5ee05982a381eed697ef9b435cf",
        crop="round",
    ),
    ModelEntry(
        "clip-vit-b-32-openai",
        "clip",
        "CLIP ViT-B/32 (OpenAI)",
        source="openai/clip-vit-base-patch32",
        revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
    ),
    ModelEntry(
        "clip-vit-l-14",
        "clip",
        "CLIP ViT-L/14 (OpenAI), 224 px",
        source=_OPENAI_L_14,
        revision="32bd64288804d66eefd0ccbe215aa642df71cc41",
    ),
    ModelEntry(
        "clip-vit-l-14-336",
        "clip",
        "CLIP ViT-L/14 (OpenAI), 336 px, base of unisim-vit-l-14",
        source=_OPENAI_L_14_336,
        revision="ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
    ),
    ModelEntry(
        "clip-vit-h-14",
        "clip",
        "CLIP ViT-H/14 (LAION-2B)",
        source="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        revision="1c2b8495b28150b8a4922ee1c8edee224c284c0c",
        crop="round",
    ),
    ModelEntry(
        "pickscore",
        "clip",
        "PickScore v1, CLIP ViT-H/14 trained on people's choices among generated images",
        source="yuvalkirstain/PickScore_v1",
        revision="a4e4367c6dfa7288a00c550414478f865b875800",
    ),
    ModelEntry(
        "hpsv2",
        "judge",
        "HPSv2, CLIP ViT-H/14 trained on people's choices among generated images",
        source="xswu/HPSv2",
        revision="697403c78157020a1ae59d23f111aa58ced35b0a",
        reader="hpsv2",
        file="HPS_v2_compressed.pt",
    ),
    ModelEntry(
        "hpsv2.1",
        "judge",
        "HPSv2.1, the same trained on more choices",
        source="xswu/HPSv2",
        revision="697403c78157020a1ae59d23f111aa58ced35b0a",
        reader="hpsv2",
        file="HPS_v2.1_compressed.pt",
    ),
    ModelEntry(
        "hpsv3",
        "judge",
        "HPSv3, Qwen2-VL-7B with a reward trained on people's choices among pictures",
        source="MizzenAI/HPSv3",
        revision="4f81e3e09edd82fe3c5f636444c721b592a735ca",
        tasks=("image-text",),
        reader="hpsv3",
        file="HPSv3.safetensors",
    ),
    ModelEntry(
        "pac-s-vit-b-32",
        "judge",
        "PAC-S, CLIP ViT-B/32 (OpenAI) tuned on generated captions and images",
        reader="pac_s",
        file="clip_ViT-B-32.pth",
        link=_PAC_S,
        terms=_NO_LICENCE,
        small=True,
    ),
    ModelEntry(
        "pac-s-vit-l-14",
        "judge",
        "PAC-S, CLIP ViT-L/14 (LAION-2B) tuned likewise",
        reader="pac_s",
        file="openClip_ViT-L-14.pth",
        link=_PAC_S,
        terms=_NO_LICENCE,
    ),
    ModelEntry(
        "blip-vit-l-16",
        "judge",
        "BLIP ViT-L/16 as it was pretrained",
        reader="blip",
        file="model_large.pth",
        link="https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth",
    ),
    ModelEntry(
        "imagereward",
        "judge",
        "ImageReward, BLIP with a reward trained on people's choices among generated images",
        source="THUDM/ImageReward",
        revision="5736be03b2652728fb87788c9797b0570450ab72",
        reader="imagereward",
        file="ImageReward.pt",
    ),
    ModelEntry(
        "dreamsim-vit-b-32",
        "judge",
        "DreamSim ViT-B/32, CLIP tuned to what people find alike",
        reader="dreamsim",
        file="dreamsim_open_clip_vitb32_checkpoint",
        link="https://github.com/ssundaram21/dreamsim/releases/tag/v0.2.0-checkpoints, unzipped",
    ),
    ModelEntry(
        "dreamsim-ensemble",
        "judge",
        "DreamSim over DINO, CLIP and open_clip's CLIP, ViT-B/16",
        tasks=("image-image", "odd-one-out"),
        reader="dreamsim_ensemble",
        file="dreamsim_ensemble_checkpoint",
        link="https://github.com/ssundaram21/dreamsim/releases/tag/v0.2.0-checkpoints, unzipped",
    ),
    ModelEntry(
        "lpips-alex",
        "judge",
        "LPIPS over AlexNet, the distance of two images' features",
        tasks=("image-image", "odd-one-out"),
        reader="lpips",
        file="alexnet-owt-7be5be79.pth",
        link=f"{_TORCHVISION}/alexnet-owt-7be5be79.pth",
        checksum="7be5be79",
        small=True,
    ),
    ModelEntry(
        "lpips-vgg",
        "judge",
        "LPIPS over VGG-16",
        tasks=("image-image", "odd-one-out"),
        reader="lpips",
        file=_VGG_16,
        link=f"{_TORCHVISION}/{_VGG_16}",
        checksum="397923af",
    ),
    ModelEntry(
        "dists",
        "judge",
        "DISTS over VGG-16, the distance of two images' structure and texture",
        tasks=("image-image", "odd-one-out"),
        reader="dists",
        file=_VGG_16,
        link=f"{_TORCHVISION}/{_VGG_16}",
        checksum="397923af",
    ),
    ModelEntry(
        "liqe",
        "judge",
        "LIQE, CLIP ViT-B/32 tuned to tell quality, scene and distortion of photographs",
        reader="liqe",
        file="liqe_mix.pt",
        link="https://huggingface.co/chaofengc/IQA-PyTorch-Weights",
        terms="CC BY-NC-SA 4.0, not for commercial use",
        small=True,
    ),
    ModelEntry(
        "deqa-score",
        "judge",
        "DeQA-Score, mPLUG-Owl2 (8 B) tuned to tell how good a picture is by a word",
        source="zhiyuanyou/DeQA-Score-Mix3",
        tasks=("quality", *ATTRIBUTES),
        reader="quality_words",
        terms=_LLAMA_2,
    ),
    ModelEntry(
        "one-align",
        "judge",
        "OneAlign, mPLUG-Owl2 (8 B) tuned to tell how good a picture is by one of five words",
        source="q-future/one-align",
        tasks=("quality", *ATTRIBUTES),
        reader="quality_words",
        terms=_LLAMA_2,
    ),
    ModelEntry(
        "compare2score",
        "judge",
        "Compare2Score, mPLUG-Owl2 (8 B) tuned to compare a picture with others of known quality",
        source="q-future/Compare2Score",
        tasks=("quality", *ATTRIBUTES),
        reader="compare2score",
        terms=_LLAMA_2,
    ),
    ModelEntry(
        "siglip-so400m-14",
        "open_clip",
        "SigLIP SoViT-400m/14 (WebLI), 224 px",
        source="ViT-SO400M-14-SigLIP/webli",
    ),
    ModelEntry(
        "siglip-so400m-14-384",
        "open_clip",
        "SigLIP SoViT-400m/14 (WebLI), 384 px",
        source="ViT-SO400M-14-SigLIP-384/webli",
    ),
    ModelEntry(
        "llava-next-0.5b",
        "generative",
        "LLaVA-NeXT-interleave over Qwen1.5-0.5B, base of unisim-ll-n-0.5b",
        source="llava-hf/llava-interleave-qwen-0.5b-hf",
    ),
    ModelEntry(
        "llava-next-7b",
        "generative",
        "LLaVA-NeXT-interleave over Qwen1.5-7B",
        source="llava-hf/llava-interleave-qwen-7b-hf",
    ),
    ModelEntry(
        "mantis-idefics2-8b",
        "generative",
        "Mantis, Idefics2-8B trained on several images",
        source="TIGER-Lab/Mantis-8B-Idefics2",
    ),
    ModelEntry("qwen2-vl-7b", "generative", "Qwen2-VL-7B", source="Qwen/Qwen2-VL-7B-Instruct"),
    ModelEntry(
        "internvl2.5-8b",
        "generative",
        "InternVL2.5-8B, converted from its authors' layout",
        source="OpenGVLab/InternVL2_5-8B",
        processor=_INTERNVL_LLAMA,
    ),
    ModelEntry(
        "internvl2.5-26b",
        "generative",
        "InternVL2.5-26B, converted from its authors' layout",
        source="OpenGVLab/InternVL2_5-26B",
        processor=_INTERNVL_LLAMA,
    ),
    ModelEntry(
        "internvl2.5-38b",
        "generative",
        "InternVL2.5-38B, converted from its authors' layout",
        source="OpenGVLab/InternVL2_5-38B",
        processor=_INTERNVL_QWEN,
    ),
    ModelEntry(
        "internvl-2.5-8b-mpo",
        "generative",
        "InternVL2.5-8B after preference optimisation, the one in transformers' layout",
        source=_INTERNVL_LLAMA,
    ),
)

REGISTRY = {entry.name: entry for entry in _ENTRIES}

# By their Hub ids, those that are converted before they load.
CONVERTED = {entry.source: entry for entry in _ENTRIES if entry.processor}


def list_models(task: Task | None = None) -> list[str]:
    """The names that ``load_model`` knows, the bundled model first.

    Besides these it takes local directories and files, Hub ids, ``open_clip:ARCHITECTURE/PRETRAINED``, and
    ``random:NAME`` for a small judge with random weights.

    Args:
        task: Only those that answer this task; all if None.

    Raises:
        ValueError: If there is no such task.
    """
    checked = check_task(task)
    return [entry.name for entry in _ENTRIES if checked is None or checked in entry.tasks]


def pinned_revision(repository: str) -> str | None:
    """The commit that the registry pins for a Hub id; None for one it does not know."""
    return next((entry.revision for entry in _ENTRIES if entry.source == repository), None)
