"""Model directories of strangers: what a file names is data, and none of it is run or fetched.

Each case is a row of the table in docs/security.md, which a test holds against what stands here.
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny_generative
import torch
from conftest import write_tokenizer
from PIL import Image
from safetensors.torch import load_file, save_file

from unisim_metrics import load_model
from unisim_metrics.cli import app
from unisim_metrics.errors import CheckpointError
from unisim_metrics.models import convert
from unisim_metrics.models.generative.model import GenerativeModel

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
PAYLOAD = "from pathlib import Path\nPath({marker!r}).write_text('run')\n"
CODE = """
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel, CLIPConfig, PreTrainedTokenizerFast
class Evil(PreTrainedTokenizerFast): pass
class EvilProcessor(CLIPImageProcessor): pass
class EvilModel(CLIPModel): pass
class EvilConfig(CLIPConfig): model_type = "evil"
"""


class Payload:
    """An object whose unpickling writes the marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def edit(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps({**content, **changes}))


def add_code(directory: Path, marker: Path) -> None:
    (directory / "evil.py").write_text(PAYLOAD.format(marker=str(marker)) + CODE)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture
def clip(tmp_path: Path, tiny_clip_dir: Path) -> Path:
    return Path(shutil.copytree(tiny_clip_dir, tmp_path / "clip"))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A model of open_clip with a tokenizer of transformers."""
    import open_clip

    directory = tmp_path / "packed"
    vocabulary = write_tokenizer(directory)
    vision = {"image_size": 32, "patch_size": 16, "width": 16, "layers": 1, "head_width": 8}
    text = {"vocab_size": vocabulary, "width": 16, "heads": 2, "layers": 1, "hf_tokenizer_name": "any"}
    torch.manual_seed(0)
    model = open_clip.CLIP(8, vision, text)  # type: ignore[arg-type]
    save_file(model.state_dict(), directory / "open_clip_model.safetensors")
    config = {
        "model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
    }
    (directory / "open_clip_config.json").write_text(json.dumps(config))
    return directory


def text_settings(directory: Path, **changes: Any) -> None:
    _settings(directory, "text_cfg", changes)


def image_settings(directory: Path, **changes: Any) -> None:
    _settings(directory, "vision_cfg", changes)


def _settings(directory: Path, tower: str, changes: dict[str, Any]) -> None:
    file = directory / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"][tower].update(changes)
    file.write_text(json.dumps(config))


class Case(NamedTuple):
    """One row: what is tried on a directory, what happens, and the words of the error (none: it loads)."""

    tried: str
    happens: str
    base: str
    change: Callable[[Path, Path], None]
    message: str | None


def _trusting_tokenizer(directory: Path, marker: Path) -> None:
    add_code(directory, marker)
    text_settings(directory, tokenizer_kwargs={"trust_remote_code": True})
    edit(directory / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})


def _own_tokenizer(directory: Path, marker: Path) -> None:
    add_code(directory, marker)
    edit(
        directory / "tokenizer_config.json",
        tokenizer_class="Evil",
        auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
    )


def _own_model(directory: Path, marker: Path) -> None:
    add_code(directory, marker)
    edit(
        directory / "config.json",
        auto_map={"AutoConfig": "evil.EvilConfig", "AutoModel": "evil.EvilModel"},
        trust_remote_code=True,
    )


def _own_processor(directory: Path, marker: Path) -> None:
    add_code(directory, marker)
    edit(
        directory / "preprocessor_config.json",
        image_processor_type="EvilProcessor",
        auto_map={"AutoImageProcessor": "evil.EvilProcessor"},
    )


def _own_class(directory: Path, marker: Path) -> None:
    add_code(directory, marker)
    edit(
        directory / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "evil.EvilConfig", "AutoModelForImageTextToText": "evil.EvilModel"},
    )


def _pickle(name: str) -> Callable[[Path, Path], None]:
    def change(directory: Path, marker: Path) -> None:
        for file in directory.glob("*.safetensors"):
            file.unlink()
        torch.save({"weight": Payload(marker)}, directory / name)

    return change


def _weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path, Path], None]:
    def apply(directory: Path, marker: Path) -> None:
        (file,) = directory.glob("*.safetensors")
        weights = load_file(file)
        change(weights)
        save_file(weights, file, metadata={"format": "pt"})

    return apply


def _set_nan(weights: dict[str, torch.Tensor]) -> None:
    next(weight for weight in weights.values() if weight.ndim == 2)[0, 0] = torch.nan


def _header(length: int) -> Callable[[Path, Path], None]:
    def change(directory: Path, marker: Path) -> None:
        (file,) = directory.glob("*.safetensors")
        file.write_bytes(length.to_bytes(8, "little") + file.read_bytes()[8:])

    return change


def _wide_tensor(directory: Path, marker: Path) -> None:
    header = json.dumps(
        {"visual_projection.weight": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}
    ).encode()
    (directory / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)


def _shard_outside(directory: Path, marker: Path) -> None:
    (directory / "model.safetensors").rename(directory.parent / "elsewhere.safetensors")
    weights = {"logit_scale": "../../elsewhere/nothing.safetensors"}
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": weights})
    )


def _edit(file: str, **changes: Any) -> Callable[[Path, Path], None]:
    return lambda directory, marker: edit(directory / file, **changes)


def _text(**changes: Any) -> Callable[[Path, Path], None]:
    return lambda directory, marker: text_settings(directory, **changes)


def _image(**changes: Any) -> Callable[[Path, Path], None]:
    return lambda directory, marker: image_settings(directory, **changes)


def _write(file: str, content: bytes) -> Callable[[Path, Path], None]:
    def change(directory: Path, marker: Path) -> None:
        (directory / file).write_bytes(content)

    return change


CASES = [
    Case(
        "open_clip: `tokenizer_kwargs` with `trust_remote_code`, and a tokenizer with `auto_map`",
        "refused: the option is not on the list",
        "packed",
        _trusting_tokenizer,
        "tokenizer_kwargs.*trust_remote_code",
    ),
    Case(
        "open_clip: a tokenizer with `auto_map` and a class of its own",
        "refused, its code is not read",
        "packed",
        _own_tokenizer,
        "tokenizer .* cannot be read",
    ),
    Case(
        "open_clip: `bpe_path` or another path among the tokenizer's options",
        "refused: the option is not on the list",
        "packed",
        _text(tokenizer_kwargs={"bpe_path": "/etc/passwd"}),
        "tokenizer_kwargs.*bpe_path",
    ),
    Case(
        "open_clip: `reduction_mask`, which draws at random which words of a long text are read",
        "refused: the option is not on the list",
        "packed",
        _text(tokenizer_kwargs={"reduction_mask": "random"}),
        "tokenizer_kwargs.*reduction_mask",
    ),
    Case(
        "open_clip: a text tower by `hf_model_name`",
        "refused: a directory fetches nothing",
        "packed",
        _text(hf_model_name="somebody/tower"),
        "would be fetched from elsewhere",
    ),
    Case(
        "open_clip: an image tower by `hf-hub:`",
        "refused: only towers that timm has",
        "packed",
        _image(timm_model_name="hf-hub:somebody/tower"),
        "image tower that timm has",
    ),
    Case(
        "open_clip: an image tower by `local-dir:`",
        "refused: only towers that timm has",
        "packed",
        _image(timm_model_name="local-dir:/tmp/tower"),
        "image tower that timm has",
    ),
    Case(
        "open_clip: unknown keys in the configuration",
        "refused: the key is not on the list",
        "packed",
        _image(checkpoint_path="/tmp/weights.pt"),
        "vision_cfg.*checkpoint_path",
    ),
    Case(
        "open_clip: a configuration that is no JSON",
        "refused, the file is named",
        "packed",
        _write("open_clip_config.json", b"{"),
        "not valid JSON",
    ),
    Case(
        "open_clip: a pickle with code for weights",
        "refused: weights are read as weights only",
        "packed",
        _pickle("open_clip_pytorch_model.bin"),
        "do not fit the architecture",
    ),
    Case(
        "open_clip: weights that are not finite",
        "refused, the weights are named",
        "packed",
        _weights(_set_nan),
        "must be finite",
    ),
    Case(
        "transformers: `auto_map` in a CLIP model's `config.json`",
        "loads: the class is transformers' own, the code is not read",
        "clip",
        _own_model,
        None,
    ),
    Case(
        "transformers: `auto_map` with a class of its own in `tokenizer_config.json`",
        "loads: `tokenizer.json` is read by transformers' own class, the code is not",
        "clip",
        _own_tokenizer,
        None,
    ),
    Case(
        "transformers: `auto_map` in a CLIP model's `preprocessor_config.json`",
        "loads: only numbers are read from it",
        "clip",
        _own_processor,
        None,
    ),
    Case(
        "transformers: a model of a class of its own",
        "refused, its code is not read",
        "clip",
        _own_class,
        "type 'evil'",
    ),
    Case(
        "transformers: a kernel of the Hub for attention",
        "refused: kernels are code",
        "clip",
        _edit("config.json", attn_implementation="somebody/kernel"),
        "kernels are code",
    ),
    Case(
        "transformers: a pickle with code for weights",
        "refused: weights are read as weights only",
        "clip",
        _pickle("pytorch_model.bin"),
        "cannot be read",
    ),
    Case(
        "transformers: weights that are not finite",
        "refused, the weights are named",
        "clip",
        _weights(_set_nan),
        r"must be finite, but 1 is not finite",
    ),
    Case(
        "transformers: weights under other names",
        "refused, the missing and the extra are named",
        "clip",
        _weights(lambda weights: weights.update(other=weights.pop("visual_projection.weight"))),
        "1 is missing .* and 1 is extra",
    ),
    Case(
        "safetensors: a header of 2⁶² bytes",
        "refused, nothing of the kind is allocated",
        "clip",
        _header(2**62),
        "cannot be read",
    ),
    Case(
        "safetensors: a tensor of 2⁶⁰ entries in a small file",
        "refused, nothing of the kind is allocated",
        "clip",
        _wide_tensor,
        "cannot be read",
    ),
    Case(
        "transformers: shards outside the directory (`../`) that are not there",
        "refused",
        "clip",
        _shard_outside,
        "cannot be read",
    ),
    Case(
        "transformers: a `config.json` that is a list",
        "refused, the file is named",
        "clip",
        _write("config.json", b"[]"),
        "must hold a JSON object",
    ),
    Case(
        "transformers: a `tokenizer.json` that is none",
        "refused, the directory is named",
        "clip",
        _write("tokenizer.json", b"\x00"),
        "tokenizer in .* cannot be read",
    ),
    Case(
        "generative: `auto_map` in the model's, the processor's and the tokenizer's files",
        "loads: the classes are transformers' own, the code is not read",
        "llava",
        lambda directory, marker: (_own_model(directory, marker), _trust_processor(directory)),  # type: ignore[arg-type, return-value]
        None,
    ),
    Case(
        "generative: a processor of a class of its own",
        "refused, its code is not read",
        "llava",
        lambda directory, marker: _own_processor_class(directory, marker),
        "processor",
    ),
    Case(
        "generative: a kernel of the Hub for attention",
        "refused: kernels are code",
        "llava",
        _edit("config.json", text_config={"attn_implementation": "somebody/kernel"}),
        "kernels are code",
    ),
    Case(
        "peft: an adapter that imports a module (`megatron_core`)",
        "refused",
        "adapter",
        _edit("adapter_config.json", megatron_config={"a": 1}, megatron_core="evil"),
        "megatron_config",
    ),
    Case(
        "peft: prompt tuning, whose tokenizer would be loaded with options of the file's",
        "refused: only adapters that are merged",
        "adapter",
        _edit(
            "adapter_config.json",
            peft_type="PROMPT_TUNING",
            tokenizer_name_or_path="evil",
            tokenizer_kwargs={"trust_remote_code": True},
        ),
        "peft_type",
    ),
    Case(
        "peft: a pickle with code for weights",
        "refused: weights are read as weights only",
        "adapter",
        _pickle("adapter_model.bin"),
        "does not fit",
    ),
]


def _trust_processor(directory: Path) -> None:
    for name in ("processor_config.json", "tokenizer_config.json"):
        edit(
            directory / name,
            trust_remote_code=True,
            auto_map={
                "AutoProcessor": "evil.EvilProcessor",
                "AutoTokenizer": ["evil.Evil", "evil.Evil"],
                "AutoImageProcessor": "evil.EvilProcessor",
            },
        )


def _own_processor_class(directory: Path, marker: Path) -> None:
    add_code(directory, marker)
    edit(
        directory / "processor_config.json",
        processor_class="EvilProcessor",
        auto_map={"AutoProcessor": "evil.EvilProcessor"},
    )
    edit(directory / "tokenizer_config.json", processor_class="EvilProcessor")


@pytest.fixture
def llava(tmp_path: Path) -> Path:
    return tiny_generative.write(tmp_path / "llava")


@pytest.fixture
def adapter(tmp_path: Path, clip: Path) -> Path:
    from peft import get_peft_model
    from transformers import CLIPModel

    from unisim_metrics.models.lora import unisim_lora

    model: Any = get_peft_model(CLIPModel.from_pretrained(clip), unisim_lora())
    model.peft_config["default"].base_model_name_or_path = str(clip)
    model.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    return tmp_path / "adapter"


@pytest.mark.parametrize("case", CASES, ids=[case.tried for case in CASES])
def test_directory(
    case: Case, request: pytest.FixtureRequest, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = request.getfixturevalue(case.base)
    load_model(directory)
    case.change(directory, marker)
    monkeypatch.setattr("builtins.input", lambda prompt="": pytest.fail(f"asked at the terminal: {prompt}"))
    targets = [directory, *([f"open_clip:local-dir:{directory}"] if case.base == "packed" else [])]
    for target in targets:
        if case.message is None:
            load_model(target)
        else:
            with pytest.raises(ValueError, match=f"(?s){case.message}"):
                load_model(target)
    assert not marker.exists()
    assert "evil" not in sys.modules


def test_the_payloads_do_run_where_code_is_trusted(clip: Path, marker: Path, packed: Path) -> None:
    import open_clip
    from transformers import AutoTokenizer

    _own_tokenizer(clip, marker)
    AutoTokenizer.from_pretrained(clip, trust_remote_code=True)
    assert marker.exists()
    marker.unlink()
    _trusting_tokenizer(packed, marker)
    open_clip.get_tokenizer(f"local-dir:{packed}")
    assert marker.exists()
    marker.unlink()
    torch.save({"weight": Payload(marker)}, marker.with_name("weights.bin"))
    torch.load(marker.with_name("weights.bin"), weights_only=False)
    assert marker.exists()


def test_command_line(packed: Path, marker: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _trusting_tokenizer(packed, marker)
    Image.new("RGB", (40, 40)).save(packed / "photo.png")
    with pytest.raises(SystemExit) as end:
        app(["score", str(packed / "photo.png"), "--model", str(packed)], prog_name="unisim")
    captured = capsys.readouterr()
    assert end.value.code not in (0, None)
    assert "tokenizer_kwargs" in captured.err
    assert "Traceback" not in captured.err
    assert not marker.exists()


def test_a_repository_of_the_hub_passes_the_same_list(
    packed: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    _trusting_tokenizer(packed, marker)
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repository, name, **options: str(packed / name)
    )
    with pytest.raises(CheckpointError, match=r"somebody/model.*tokenizer_kwargs.*trust_remote_code"):
        load_model("open_clip:hf-hub:somebody/model")
    assert not marker.exists()


TEMPLATES = [
    ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "chat template.*(unsafe|attribute)"),
    ("{% set _ = messages.append({'role': 'user'}) %}", "chat template.*unsafe"),
    ("{% for i in range(10 ** 12) %}x{% endfor %}", "chat template.*(range|Range)"),
    ("{{ raise_exception('no') }}", "chat template.*no"),
    ("{% for", "chat template"),
]


@pytest.mark.parametrize(("template", "message"), TEMPLATES)
def test_chat_templates(template: str, message: str) -> None:
    backbone, processor = tiny_generative.build("qwen2_vl")
    processor.chat_template = template
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        GenerativeModel(backbone, processor, "evil")


def _archive(path: Path, members: dict[str, str], link: str | None = None) -> Path:
    import io
    import tarfile

    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, content in members.items():
                zipped.writestr(name, content)
        return path
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content.encode()))
        if link is not None:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, link
            tar.addfile(info)
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
@pytest.mark.parametrize("member", ["../outside", "/tmp/unisim-outside", "a/../../outside"])
def test_archive_members_stay_inside(tmp_path: Path, suffix: str, member: str) -> None:
    folder = tmp_path / "deep" / "er"
    folder.mkdir(parents=True)
    archive = _archive(folder / f"model{suffix}", {"config.json": "{}", member: "payload"})
    with pytest.raises(ValueError):
        convert(archive, tmp_path / "out", merged=True)
    assert not [path for path in tmp_path.rglob("*outside*")]
    assert not Path("/tmp/unisim-outside").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("link", ["/etc/passwd", "../../../etc/passwd"])
def test_archive_links_stay_inside(tmp_path: Path, link: str) -> None:
    archive = _archive(tmp_path / "model.tar", {"config.json": "{}"}, link)
    with pytest.raises(CheckpointError, match="cannot be read"):
        convert(archive, tmp_path / "out", merged=True)
    assert not (tmp_path / "out").exists()


def test_names_are_names_before_they_are_folders(
    tmp_path: Path, tiny_clip_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder called like a model of the registry does not take its place; as a path it loads."""
    shutil.copytree(tiny_clip_dir, tmp_path / "unisim-mini")
    shutil.copytree(tiny_clip_dir, tmp_path / "org" / "name")
    monkeypatch.chdir(tmp_path)
    bundled = load_model().weights_hash()
    assert load_model("unisim-mini").weights_hash() == bundled
    for path in ("./unisim-mini", Path("unisim-mini"), "org/name", "../" + tmp_path.name + "/unisim-mini"):
        assert load_model(path).weights_hash() != bundled


@pytest.mark.parametrize(
    "name",
    [
        "../nothing",
        "org/../name",
        "org/na me",
        "-org/name",
        "org/name\n",
        "a/b/c",
        "https://host/name",
        "..",
        "\0",
    ],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises((ValueError, OSError)) as caught:
        load_model(name)
    assert type(caught.value).__module__.startswith(("unisim_metrics", "builtins"))
    with pytest.raises((ValueError, OSError)):
        load_model("org/name", revision=name)


# What the tests above try one by one, in the words of the page.
OTHER_ROWS = [
    (
        "generative: a chat template that reaches for Python's classes, changes the messages, or loops 10¹² times",
        "refused: templates run in a sandbox",
    ),
    ("archives: members named `../x` or `/x`", "nothing is written outside the folder that is unpacked to"),
    ("archives: links that lead outside", "refused"),
    (
        "names: a folder called like a model of the registry",
        "the name stands for the registry's model; `./NAME` or a `Path` for the folder",
    ),
    ("names: `org/name` that is a folder here", "the folder is loaded, nothing is fetched"),
    ("names: `../x`, a URL, blanks, a NUL", "a path that exists, or refused; never asked of the Hub"),
]


def test_page() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Models and tokenizers")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    wanted = [(case.tried, case.happens) for case in CASES] + OTHER_ROWS
    assert rows == [f"| {tried} | {happens} |" for tried, happens in wanted]
