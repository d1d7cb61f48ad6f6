"""MiniLM's WordPiece vocabulary, made to read every character.

A word with a character that the vocabulary lacks is one unknown token to WordPiece, whatever else it holds. Here such
a character stands alone, and symbols (emoji, arrows, dingbats, operators) are read by their Unicode names: "😀" as
"grinning face".
"""

from __future__ import annotations

import io
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

# Symbols, numbers other than digits, punctuation.
_NAMED = {"So", "Sm", "Sc", "Sk", "No", "Nl", "Po", "Pd", "Ps", "Pe", "Pi", "Pf"}
_FIRST_BEYOND_ASCII, _END = 0x80, 0x110000
LONGEST_WORD = 512


def build_tokenizer(path: Path, context_length: int) -> PreTrainedTokenizerFast:
    """Read MiniLM's `tokenizer.json` and add what it cannot read.

    Args:
        path: The file.
        context_length: After how many tokens a text is cut.
    """
    tokenizer = Tokenizer.from_file(str(path))
    known = "".join(sorted(token for token in tokenizer.get_vocab() if len(token) == 1))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(name_table(unknown_symbols(known))), tokenizer.normalizer]
    )
    unknown = "".join(f"\\x{{{ord(character):x}}}" for character in known)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [tokenizer.pre_tokenizer, pre_tokenizers.Split(Regex(f"[^{unknown}]"), "isolated")]
    )
    tokenizer.model.max_input_chars_per_word = LONGEST_WORD
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=context_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
    )


def unknown_symbols(known: str) -> dict[str, str]:
    """Symbols beyond ASCII that are not among the characters `known`, each with its Unicode name in lower case."""
    characters = map(chr, range(_FIRST_BEYOND_ASCII, _END))
    return {
        character: name.lower().replace("-", " ")
        for character in characters
        if unicodedata.category(character) in _NAMED
        and character not in known
        and (name := unicodedata.name(character, ""))
    }


def name_table(names: dict[str, str]) -> bytes:
    """The table by which a normalizer writes words for characters in one pass, in SentencePiece's form."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    rules = "".join(
        f"{ord(character):X}\t{' '.join(f'{ord(letter):X}' for letter in f' {name} ')}\n"
        for character, name in names.items()
    )
    model = io.BytesIO()
    # The table is all that is taken from this model; its vocabulary is of the letters of one sentence.
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="ascii") as file:
        file.write(rules)
        file.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e f g"] * 20),
            model_writer=model,
            model_type="char",
            vocab_size=16,
            hard_vocab_limit=False,
            normalization_rule_tsv=file.name,
            minloglevel=2,
        )
    proto: Any = vars(sentencepiece_model_pb2)["ModelProto"].FromString(model.getvalue())
    table: bytes = proto.normalizer_spec.precompiled_charsmap
    return table
