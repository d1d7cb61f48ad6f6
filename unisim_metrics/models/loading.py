"""``load_model``: one door for names, directories, files, Hub ids and modules."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unisim_metrics.images import Preprocessing, Resample
from unisim_metrics.models.checkpoints.clip import load_checkpoint
from unisim_metrics.models.checkpoints.conversion import base_of_adapter, revision_of_base
from unisim_metrics.models.checkpoints.directories import (
    Base,
    dual_encoder_class,
    find_base,
    has_clip_texts,
    is_adapter,
    load_adapter,
    other_ways,
    read_dual_encoder,
    read_json,
    read_preprocessing,
    read_tokenizer,
)
from unisim_metrics.models.checkpoints.internvl import is_internvl_checkpoint
from unisim_metrics.models.checkpoints.llava import is_llava_checkpoint
from unisim_metrics.models.checkpoints.open_clip import PREFIX, load_open_clip, wrap_open_clip
from unisim_metrics.models.checkpoints.vision_language import is_generative, load_generative, wrap_generative
from unisim_metrics.models.encoders.base import EncoderModel
from unisim_metrics.models.encoders.clip import CLIPEncoder
from unisim_metrics.models.encoders.custom import CustomEncoder
from unisim_metrics.models.encoders.dual_encoder import DualEncoder
from unisim_metrics.models.encoders.open_clip import is_open_clip
from unisim_metrics.models.generative.base import VisionLanguageModel
from unisim_metrics.models.generative.model import GenerativeModel, Mode
from unisim_metrics.models.judges.base import JudgeSource
from unisim_metrics.models.judges.weights import RANDOM
from unisim_metrics.models.loading_options import GENERATIVE_OPTIONS, Options, refuse
from unisim_metrics.models.lora import is_peft_model, merge_lora
from unisim_metrics.models.protocol import PerceptualModel
from unisim_metrics.models.published import find_converted, find_published, find_weights, tell_terms
from unisim_metrics.models.registry import CONVERTED, REGISTRY, ModelEntry, list_models
from unisim_metrics.models.sources.hub import fetch_snapshot, is_hub_id

_CHECKPOINT_SUFFIXES = (".pt", ".pth")


@torch.inference_mode(False)  # inference tensors could never take part in a graph
def load_model(
    name_or_path_or_module: str | PathLike[str] | nn.Module | PerceptualModel = "unisim-mini",
    *,
    revision: str | None = None,
    base: str | PathLike[str] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    resample: Resample = "bicubic",
    truncate: bool = True,
    preprocessing: Preprocessing | None = None,
    tokenizer: Any = None,
    processor: Any = None,
    device_map: Any = None,
    batch_size: int | None = None,
    mode: Mode | None = None,
    debias: bool | None = None,
    cache_dir: str | PathLike[str] | None = None,
    token: str | bool | None = None,
) -> PerceptualModel:
    """Load a perceptual model.

    In order, the first argument is taken for: a perceptual model (given back), a module, the bundled model's
    name, a name of the registry, a judge's name with a file of its weights (``hpsv2:HPS_v2_compressed.pt``), a
    directory, an authors' ``.pt``, ``open_clip:...``, a Hub id. Only the names and ids that need it are downloaded.

    Args:
        name_or_path_or_module: A name of ``list_models()``; a directory with a ``CLIPModel``, a
            ``VisionTextDualEncoderModel`` or a vision-language model of transformers, an adapter of peft for one
            of these, or a model of open_clip; a ``.pt`` of the authors; ``"open_clip:ARCHITECTURE/PRETRAINED"``;
            a Hub id ``"org/name"``; ``"random:NAME"`` for a small judge with random weights, which shows how it is
            used and says nothing; a ``CLIPModel``, ``VisionTextDualEncoderModel``, ``PeftModel``, model of
            open_clip, vision-language model, or any module with ``encode_image`` and ``encode_text``, which
            needs ``preprocessing`` and ``tokenizer``.
        revision: Branch, tag or commit of a Hub id.
        base: Directory or Hub id of the model that an adapter or ``.pt`` was trained from; found by default. For
            ``hpsv3`` a directory with the configuration and processor of Qwen2-VL.
        device: Where the model goes; the CPU, or where a module already is, by default.
        dtype: Type of the weights; float32 whatever a file stores, or what a module already has, by default. A
            generative model, and a judge made of one, keep the file's own type on an accelerator.
        resample: ``"bicubic"``, or ``"pil"`` to resize every image by Pillow: exact, without gradients,
            slower.
        truncate: Whether texts longer than the model's context are cut, with one warning a process, or are an
            error; the same of texts with characters that a CLIP model's vocabulary lacks.
        preprocessing: How images are prepared, if not as the model says. It must be given for a module of the user's
            own class, and for weights of open_clip in a file where those published differ.
        tokenizer: The tokenizer, if not the model's own: of transformers for its models, else a callable.
        processor: The processor of a generative model, if not the directory's own.
        device_map: How a generative model, or ``hpsv3``, is spread over devices, as transformers takes it; needs
            accelerate.
        batch_size: How many questions pass through a generative model at a time; how many pictures through a judge
            made of one.
        mode: How a generative model compares: by ``"letters"`` (the default), in the text that it writes
            (``"generate"``), or by scoring each alternative alone where it can (``"yes-no"``).
        debias: Whether a generative model is asked in several orders of the alternatives; not by default.
        cache_dir: Another place for downloads and converted copies.
        token: For a private or gated repository of the Hub.

    Returns:
        The model. What was loaded here has frozen parameters; a module of the user's keeps its own settings.

    Raises:
        ValueError: If the name is unknown, an argument does not apply, or a directory holds no such model.
        CheckpointError: If weights are not exactly what their layout asks for. It is a ``ValueError``.
        ModelUnavailableError: If a known model cannot be fetched. It is an ``OSError``, and tells the ways
            out.
    """
    target = name_or_path_or_module
    options = Options(
        revision=revision,
        base=base,
        device=device,
        dtype=dtype,
        resample=resample,
        truncate=truncate,
        preprocessing=preprocessing,
        tokenizer=tokenizer,
        processor=processor,
        device_map=device_map,
        batch_size=batch_size,
        mode=mode,
        debias=debias,
        cache_dir=None if cache_dir is None else Path(cache_dir),
        token=token,
    )
    if resample not in ("bicubic", "pil"):
        raise ValueError(f"Argument `resample` must be one of ('bicubic', 'pil'), but got {resample!r}.")
    if device is not None and device_map is not None:
        raise ValueError("Arguments `device` and `device_map` must not be given together.")
    if isinstance(target, str | PathLike):
        model = _from_name(target, options)
        if isinstance(model, EncoderModel):
            own = model.dtype if model.keeps_type else torch.float32
            model.to(dtype or own).requires_grad_(False)
            model.backbone.eval()
    elif isinstance(target, PerceptualModel):
        if dataclasses.replace(options, device=None) != Options():
            raise ValueError(
                f"Argument `name_or_path_or_module` is a model already ({target.name!r}): only `device`"
                " applies to it."
            )
        return target if device is None else target.to(torch.device(device))
    elif isinstance(target, nn.Module):
        refuse(options, "a module", "revision", "base", "cache_dir", "token")
        model = _from_module(target, options)
        if dtype is not None:
            model.to(dtype)
    else:
        raise TypeError(
            "Argument `name_or_path_or_module` must be a name, a path, a module or a perceptual model, but"
            f" got {type(target).__name__}."
        )
    if resample != "bicubic" and isinstance(model, EncoderModel):
        model.preprocessing = dataclasses.replace(model.preprocessing, resample=resample)
    return model if device is None else model.to(device)


def _from_name(target: str | PathLike[str], options: Options) -> EncoderModel | VisionLanguageModel:
    name = str(target)
    is_text = isinstance(target, str)
    if is_text and name in REGISTRY:
        return _from_registry(REGISTRY[name], options)
    if is_text and name.startswith(PREFIX):
        refuse(options, "a model of open_clip", "revision", "base", "token")
        return _from_open_clip(name.removeprefix(PREFIX), options)
    judge, _, file = name.partition(":")
    if is_text and judge == "random" and file:
        return _from_random(file, options)
    if is_text and file and judge in REGISTRY and REGISTRY[judge].kind == "judge":
        return _from_judge(REGISTRY[judge], file, options)
    path = Path(target).expanduser()
    if not name:
        raise ValueError(_unknown(name))
    if path.is_dir() and not (is_text and options.revision is not None):
        return _from_directory(path, path.resolve().name, options)
    if path.is_file():
        return _from_file(path, options)
    if is_text and (is_hub_id(name) or (options.revision is not None and name.count("/") == 1)):
        return _from_directory(_fetched(name, options), name, dataclasses.replace(options, revision=None))
    raise ValueError(_unknown(name))


def _from_registry(entry: ModelEntry, options: Options) -> EncoderModel | VisionLanguageModel:
    if entry.kind == "bundled":
        refuse(options, f"`{entry.name}`", "revision", "base")
        directory = Path(str(resources.files("unisim_metrics") / "assets" / entry.name))
        return _from_directory(directory, entry.name, options)
    if entry.kind == "open_clip":
        refuse(options, f"`{entry.name}`", "revision", "base", "token")
        return _from_open_clip(entry.source, options, entry.name)
    if entry.kind == "judge":
        return _from_judge(entry, "", options)
    if entry.kind == "published":
        refuse(options, f"`{entry.name}`", "revision", "base")
        directory = find_published(entry, options.cache_dir, options.token)
        return _from_directory(directory, entry.name, options)
    directory = _fetched(entry.source, options)
    model = _from_directory(directory, entry.name, dataclasses.replace(options, revision=None))
    if entry.crop is not None and options.preprocessing is None and isinstance(model, EncoderModel):
        model.preprocessing = dataclasses.replace(model.preprocessing, crop=entry.crop)
    return model


def _fetched(repository: str, options: Options) -> Path:
    """The directory of a repository on the Hub, converted if that has it in its authors' layout alone."""
    if repository in CONVERTED:
        return find_converted(CONVERTED[repository], options.revision, **options.hub())
    return fetch_snapshot(repository, options.revision, **options.hub())


def _from_judge(entry: ModelEntry, file: str, options: Options) -> EncoderModel | VisionLanguageModel:
    """A judge from its file, which is fetched if none is named."""
    reader = importlib.import_module(f"unisim_metrics.models.judges.{entry.reader}")
    others = ("base", "preprocessing", "tokenizer", *GENERATIVE_OPTIONS)
    taken = getattr(reader, "OPTIONS", ())
    refuse(options, f"`{entry.name}`", *(option for option in others if option not in taken))
    if file:
        refuse(options, f"the file {file}", "revision", "token")
        path = Path(file).expanduser()
        if not path.exists():
            raise ValueError(
                f"Argument `name_or_path_or_module` must name a file behind `{entry.name}:`, but there is no {file!r}."
            )
    else:
        path = find_weights(entry, options.revision, options.cache_dir, options.token)
    tell_terms(entry)
    model: EncoderModel | VisionLanguageModel = reader.load(JudgeSource(path, entry.name, options))
    return model


def _from_random(name: str, options: Options) -> EncoderModel | VisionLanguageModel:
    """A judge in its published layout with random weights, whose name says so wherever it stands."""
    known = [entry.name for entry in REGISTRY.values() if entry.small]
    if name not in known:
        raise ValueError(
            f"Argument `name_or_path_or_module` must name one of {known} behind `random:`, but got {name!r}."
        )
    entry = REGISTRY[name]
    others = ("revision", "base", "preprocessing", "tokenizer", "token", *GENERATIVE_OPTIONS)
    refuse(options, f"`random:{name}`", *others)
    reader = importlib.import_module(f"unisim_metrics.models.judges.{entry.reader}")
    model: EncoderModel | VisionLanguageModel = reader.load(JudgeSource(RANDOM, name, options))
    model.name = f"{name}-random-weights"
    return model


def _from_directory(directory: Path, name: str, options: Options) -> EncoderModel | GenerativeModel:
    refuse(options, f"the directory {directory}", "revision")
    if is_adapter(directory):
        revision = None if options.base else revision_of_base(directory)
        base, base_name = find_base(
            options.base or base_of_adapter(directory), revision=revision, **options.hub()
        )
        if _holds_generative(base):
            return _generative(base, name, options, adapter=directory)
        adapted = load_adapter(directory, Base(read_dual_encoder(base), base, base_name))
        return _dual_encoder(merge_lora(adapted), name, options, directory, base)
    refuse(options, f"the full model in {directory}", "base")
    if (directory / "open_clip_config.json").is_file() and not (directory / "config.json").is_file():
        return _from_open_clip(f"local-dir:{directory}", options, name)
    if is_llava_checkpoint(directory):
        raise ValueError(
            f"The directory {directory} holds a model in the layout of the LLaVA-NeXT code: convert it first, `unisim"
            f" convert {directory} NEW_DIRECTORY`, and load that."
        )
    if is_internvl_checkpoint(directory):
        raise ValueError(
            f"The directory {directory} holds an InternVL in its authors' layout: convert it first, `unisim convert"
            f" {directory} NEW_DIRECTORY --base OpenGVLab/InternVL2_5-8B-MPO-hf` (or another InternVL in transformers'"
            " layout with its tokenizer), and load that."
        )
    if _holds_generative(directory):
        return _generative(directory, name, options)
    return _dual_encoder(read_dual_encoder(directory), name, options, directory)


def _holds_generative(directory: Path) -> bool:
    config = directory / "config.json"
    return config.is_file() and is_generative(read_json(config))


def _generative(directory: Path, name: str, options: Options, adapter: Path | None = None) -> GenerativeModel:
    refuse(options, f"the generative model {name!r}", "preprocessing", "tokenizer")
    return load_generative(
        directory,
        name,
        adapter=adapter,
        processor=options.processor,
        device=options.device,
        dtype=options.dtype,
        device_map=options.device_map,
        resample=options.resample,
        **options.judging(),
    )


def _from_file(path: Path, options: Options) -> EncoderModel:
    if path.suffix not in _CHECKPOINT_SUFFIXES:
        raise ValueError(
            f"Argument `name_or_path_or_module` must be a directory or an authors' checkpoint"
            f" ({', '.join(_CHECKPOINT_SUFFIXES)}), but got the file {str(path)!r}."
        )
    refuse(options, f"the file {path}", "revision")
    checkpoint = load_checkpoint(path, options.base, **options.hub())
    return _dual_encoder(merge_lora(checkpoint.model), path.stem, options, checkpoint.base.directory)


def _from_open_clip(spec: str, options: Options, name: str | None = None) -> EncoderModel:
    refuse(options, "a model of open_clip", *GENERATIVE_OPTIONS)
    return load_open_clip(
        spec,
        name=name,
        truncate=options.truncate,
        preprocessing=options.preprocessing,
        tokenizer=options.tokenizer,
        cache_dir=options.cache_dir,
    )


def _from_module(module: nn.Module, options: Options) -> EncoderModel | GenerativeModel:
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    kind = type(
        getattr(module, "_orig_mod", module)
    ).__name__  # a compiled module goes by its own class's name
    core = module.get_base_model() if is_peft_model(module) else module  # type: ignore[operator]
    settings: dict[str, Any] = getattr(getattr(core, "config", None), "to_dict", dict)()
    if settings and is_generative(settings):
        refuse(options, f"a {kind}", "preprocessing", "tokenizer", "device_map")
        return wrap_generative(core, options.processor, options.resample, **options.judging())
    refuse(options, f"a {kind}", *GENERATIVE_OPTIONS)
    if dual_encoder_class(settings) is not None:
        # A model read by `from_pretrained` remembers the directory or id, whose tokenizer may be at hand.
        source = Path(str(getattr(core, "name_or_path", "") or "."))
        if options.tokenizer is None and not (source.is_dir() and source != Path(".")):
            raise ValueError(
                f"Argument `tokenizer` must be given for a {kind} that was not read from a directory: pass"
                " `transformers.AutoTokenizer.from_pretrained(...)`."
            )
        return _dual_encoder(module, kind, options, source)
    if is_open_clip(module):
        return wrap_open_clip(
            module,
            name=kind,
            truncate=options.truncate,
            preprocessing=options.preprocessing,
            tokenizer=options.tokenizer,
        )
    if settings.get("model_type") and not callable(getattr(module, "encode_image", None)):
        raise ValueError(
            "Argument `name_or_path_or_module` must be a CLIP model or a `VisionTextDualEncoderModel`, if it is one of"
            f" transformers, but got a {kind} of type {settings['model_type']!r}. {other_ways()}"
        )
    return CustomEncoder(module, options.tokenizer, kind, options.preprocessing)


def _dual_encoder(
    backbone: Any, name: str, options: Options, *directories: Path
) -> CLIPEncoder | DualEncoder:
    """An encoder with the tokenizer and processor of the first directory that has them."""
    refuse(options, f"the encoder {name!r}", *GENERATIVE_OPTIONS)
    tokenizer = options.tokenizer if options.tokenizer is not None else read_tokenizer(*directories)
    preprocessing = options.preprocessing
    if preprocessing is None:
        has_processor = [
            directory
            for directory in directories
            if any(
                (directory / file).is_file() for file in ("preprocessor_config.json", "processor_config.json")
            )
        ]
        preprocessing = read_preprocessing((has_processor or list(directories))[0], backbone)
    encoder = CLIPEncoder if has_clip_texts(backbone.config.to_dict()) else DualEncoder
    return encoder(backbone, tokenizer, name, preprocessing, options.truncate)


def _unknown(name: str) -> str:
    known = list_models()
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(f'`{match}`' for match in close)}?" if close else ""
    return (
        f"Argument `name_or_path_or_module` must be one of {known}, a directory, a `.pt` file, a Hub id"
        f" `org/name` or `open_clip:ARCHITECTURE/PRETRAINED`, but got {name!r}, which is none of these"
        f" here.{hint}"
    )
