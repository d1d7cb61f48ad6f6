"""From questions to the text that a chat model continues, and to the tokens that stand for its options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from unisim_metrics.errors import CheckpointError
from unisim_metrics.models.generative.instructions import IMAGE, LETTERS, ImagePart, Part, Question

NEWLINE_TOKEN = "<image_newline>"

# The conversation form "qwen_1_5" of the authors' code: an image stands where the text has it.
_QWEN_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{ 'IMAGE' }}{%- else -%}{{ part['text'] }}{%- endif -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{ '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)

# The form in which Idefics2 was trained. Mantis, which was trained in it too, is published without a template.
_IDEFICS2_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ message['role'] | capitalize }}:{% if message['content'][0]['type'] != 'image' %}{{ ' ' }}{% endif %}"
    "{%- for part in message['content'] -%}"
    f"{{%- if part['type'] == 'image' -%}}{{{{ '{IMAGE}' }}}}{{%- else -%}}{{{{ part['text'] }}}}{{%- endif -%}}"
    "{%- endfor -%}"
    "{{ '<end_of_utterance>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}"
)

FAMILY_TEMPLATES = {"idefics2": _IDEFICS2_TEMPLATE}
"""The templates of families some of whose models come without one, by transformers' name of the class."""


def qwen_template(tokenizer: Any) -> str:
    """The template of LLaVA-NeXT-interleave over Qwen, as the authors use it.

    Args:
        tokenizer: The tokenizer. Where it has a token for the vector that ends an image, that follows each image.
    """
    newline = NEWLINE_TOKEN if NEWLINE_TOKEN in tokenizer.get_vocab() else ""
    return _QWEN_TEMPLATE.replace("IMAGE", IMAGE + newline)


@dataclass(frozen=True)
class Prompt:
    """What a model is given.

    Attributes:
        text: The whole conversation, with the image token in the place of each image.
        images: The images, in order.
        count: How many options the question has.
    """

    text: str
    images: tuple[Any, ...]
    count: int


class Chat:
    """The chat form of one model: its template, and how an answer begins.

    Args:
        processor: The processor of transformers.
        name: The model's name, for error texts.
        interleaved: Whether the model is of LLaVA-NeXT-interleave's kind: then a ChatML template of the processor's,
            which may put all images first, gives way to the authors' own.
        family: Transformers' name of the model's class, whose own template stands in for one that is missing.

    Raises:
        ValueError: If there is no template, or the options' letters are not single tokens where an answer begins.
    """

    def __init__(self, processor: Any, name: str, *, interleaved: bool = False, family: str = "") -> None:
        self.processor = processor
        self.name = name
        self.template = _own_template(processor) or FAMILY_TEMPLATES.get(family)
        if interleaved and (self.template is None or "<|im_start|>" in self.template):
            self.template = qwen_template(processor.tokenizer)
        if self.template is None:
            raise ValueError(
                f"The processor of model {name!r} must have a chat template, but has none: save it with one"
                " (`processor.chat_template = ...; processor.save_pretrained(directory)`)."
            )
        self._asked, self._lead = self._start_of_answers()
        self.letters = self._letter_tokens()

    def prompt(
        self,
        question: Question,
        demonstrations: Sequence[tuple[Question, int]] = (),
        start: str = "",
    ) -> Prompt:
        """Write a question, solved ones before it as earlier turns of the conversation.

        Args:
            question: The question.
            demonstrations: Questions with the index of their right alternative.
            start: How the answer begins.

        Raises:
            ValueError: If the template does not write the images in their order.
        """
        messages = []
        for solved, label in demonstrations:
            messages += [self.user(solved.parts), _assistant(LETTERS[label])]
        messages.append(self.user(question.parts))
        text = self.render(messages, add_generation_prompt=True)
        images = [image for solved, _ in demonstrations for image in solved.images] + question.images
        written = text.count(self.processor.image_token)
        if written != len(images):
            raise ValueError(
                f"The chat template of model {self.name!r} must write an image token for each of {len(images)} images,"
                f" but writes {written}."
            )
        return Prompt(text + (self._lead + start if start else ""), tuple(images), question.count)

    def user(self, parts: Sequence[Part]) -> dict[str, Any]:
        """Return a turn of the user's, of texts and images, as chat templates take it."""
        content = [
            {"type": "image"} if isinstance(part, ImagePart) else {"type": "text", "text": self.plain(part)}
            for part in parts
        ]
        return {"role": "user", "content": content}

    def render(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        """Write a conversation as the model reads it, up to where the next answer begins if that is asked for."""
        from jinja2 import TemplateError

        try:
            text: str = self.processor.apply_chat_template(
                messages,
                chat_template=self.template,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
        except (TemplateError, OverflowError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The chat template of model {self.name!r} cannot be rendered: {error}"
            ) from error
        return text

    def plain(self, text: str) -> str:
        """Break up control tokens that a caption holds: it must not end the question or bring in an image."""
        return self._control_tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    @cached_property
    def _control_tokens(self) -> re.Pattern[str]:
        tokenizer = self.processor.tokenizer
        added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
        tokens = {*tokenizer.all_special_tokens, *added, self.processor.image_token}
        names = sorted((token for token in tokens if len(token) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)))

    def word_tokens(self, words: Sequence[str], start: str = "") -> list[int]:
        """The token that tells each word from the others, as the next one of an answer that begins by `start`.

        A word of several tokens is told by its first.

        Raises:
            ValueError: If the tokenizer does not tell the words apart by one token.
        """
        tokens = [ids[0] if ids else None for ids in self._next_tokens(words, start)]
        unknown = self.processor.tokenizer.unk_token_id
        known = [token for token in tokens if token is not None and token != unknown]
        if len(set(known)) < len(words):
            raise ValueError(
                f"The tokenizer of model {self.name!r} must tell the words {tuple(words)} apart by their first token"
                f" after {(self._asked + start)[-20:]!r}, but writes {tokens}: this model scores no single image."
            )
        return known

    def _start_of_answers(self) -> tuple[str, str]:
        """A conversation up to where an answer begins, and the space that the template may begin it by."""
        question = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
        asked = self.render(question, add_generation_prompt=True)
        answered = self.render([*question, _assistant("A")], add_generation_prompt=False)
        return asked, answered[len(asked) :].partition("A")[0] if answered.startswith(asked) else ""

    def _letter_tokens(self) -> list[int]:
        """The token of each letter as the first of an answer."""
        tokenizer = self.processor.tokenizer
        tokens = []
        for letter, ids in zip(LETTERS, self._next_tokens(LETTERS), strict=True):
            if ids is None or len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
                written = tokenizer(self._asked + self._lead + letter, add_special_tokens=False)["input_ids"]
                raise ValueError(
                    f"The tokenizer of model {self.name!r} must write each option's letter as one token, but writes"
                    f" {letter!r} after {self._asked[-20:]!r} as {tokenizer.convert_ids_to_tokens(written)[-3:]}: this"
                    " model cannot be read by its letters."
                )
            tokens.append(ids[0])
        return tokens

    def _next_tokens(self, words: Sequence[str], start: str = "") -> list[list[int] | None]:
        """The tokens of each word behind `start` in an answer; None where they change those before."""
        lead, before = self._lead, self._asked
        if start:
            lead, before = "", before + lead + start
        tokenizer = self.processor.tokenizer
        known: list[int] = tokenizer(before, add_special_tokens=False)["input_ids"]
        written = [tokenizer(before + lead + word, add_special_tokens=False)["input_ids"] for word in words]
        return [ids[len(known) :] if ids[: len(known)] == known else None for ids in written]


def _own_template(processor: Any) -> str | None:
    template = getattr(processor, "chat_template", None) or getattr(
        processor.tokenizer, "chat_template", None
    )
    if isinstance(template, dict):
        template = template.get("default")
    return template


def _assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
