"""Stage 1: a bridge between what MiniLM reads and what the image tower sees, both as they came.

It learns from captions by contrast; from the image tower's own classifier, whose rows are prototypes of 1,000 classes
and whose names, synonyms and glosses are known; from what those classes are kinds of; and it keeps how texts relate
in MiniLM and how photos relate in the tower.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange
from transformers import VisionTextDualEncoderModel

from ..clip.optimization import Optimization, RunningMeans, Schedule
from .corpus import Corpus
from .minilm import bridge, bridge_modules
from .recipe import Recipe
from .two_towers import image_embeddings

log = logging.getLogger(__name__)
# Of a synthetic feature: how far it goes towards its class, and how much noise of real features it carries.
TOWARDS_CLASS, NOISE = (0.4, 1.1), (0.3, 1.0)


class SyntheticFeatures:
    """Pooled features as photos of a class might have, from the classifier's rows and the spread of real features.

    Args:
        features: Of real photos, `[N, C]`.
        classifier: Weight `[K, C]`.
    """

    def __init__(self, features: Tensor, classifier: Tensor) -> None:
        self.mean = features.mean(dim=0)
        centred = features - self.mean
        covariance = centred.T @ centred / len(features)
        # In the metric of the covariance: the features that a class has more of, not those that tell it apart.
        self.prototypes = F.normalize((classifier - classifier.mean(dim=0)) @ covariance, dim=-1)
        self.prototypes = self.prototypes * centred.norm(dim=-1).mean()
        self.noise = torch.linalg.cholesky(covariance + 1e-4 * torch.eye(len(covariance)))

    def draw(self, classes: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Draw a feature of each class, `[N, C]`."""
        towards, noise = (
            torch.from_numpy(rng.uniform(*bounds, (len(classes), 1)).astype(np.float32))
            for bounds in (TOWARDS_CLASS, NOISE)
        )
        normal = torch.from_numpy(rng.standard_normal((len(classes), len(self.mean)), dtype=np.float32))
        drawn: Tensor = self.mean + towards * self.prototypes[classes] + noise * (normal @ self.noise.T)
        return drawn.clamp_min(0)


def contrastive_losses(
    images: Tensor, texts: Tensor, matches: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """InfoNCE with several right answers: the text of each image, and the image of each text.

    Args:
        images: Unit length, `[N, D]`.
        texts: Unit length, `[M, D]`.
        matches: Who may match whom, bool `[N, M]`, at least one in each row and column.
        temperature: What the similarities are divided by.
    """
    logits = images @ texts.T / temperature
    losses = [
        F.cross_entropy(part, target / target.sum(dim=1, keepdim=True))
        for part, target in ((logits, matches.to(logits.dtype)), (logits.T, matches.T.to(logits.dtype)))
    ]
    return losses[0], losses[1]


def class_loss(images: Tensor, class_texts: Tensor, probabilities: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of choosing a class by its text against the classifier's own probabilities `[N, K]`."""
    return -(probabilities * F.log_softmax(images @ class_texts.T * scale, dim=-1)).sum(dim=-1).mean()


def name_loss(images: Tensor, class_texts: Tensor, probabilities: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy of choosing an image by a class's text, against how likely each shows the class.

    A class counts as much as the images together show of it. Without this direction, images unlike all photos are
    close to every word that names nothing seen in training. The loss is 0 if no image shows any class.
    """
    chosen = F.log_softmax(images @ class_texts.T * scale, dim=0)
    shown = probabilities.sum().clamp_min(torch.finfo(probabilities.dtype).tiny)
    return -(probabilities * chosen).sum() / shown


def relation_loss(embeddings: Tensor, others: Tensor) -> Tensor:
    """Mean squared difference of all similarities inside two batches of unit length."""
    return F.mse_loss(embeddings @ embeddings.T, others @ others.T)


def train_bridge(model: VisionTextDualEncoderModel, corpus: Corpus, recipe: Recipe) -> None:
    """Train the bridge and both projections of `model` in place."""
    settings = recipe.bridge
    rng = np.random.default_rng(recipe.seed)
    synthetic = SyntheticFeatures(corpus.features, corpus.classifier[0])
    class_meanings = corpus.bank.meanings[corpus.usual_rows]
    scale = nn.Parameter(torch.tensor(np.log(1 / settings.temperature), dtype=torch.float32))
    trained = nn.ModuleList([model.visual_projection, *bridge_modules(model)])
    trained.register_parameter("scale", scale)
    schedule = Schedule(settings.learning_rate, settings.weight_decay, settings.warmup_steps, settings.steps)
    optimization = Optimization(trained, schedule)
    means = RunningMeans(bar := trange(settings.steps, desc="bridge", mininterval=20), log, every=25)
    for step in bar:
        captioned, captions = corpus.draw_captioned(settings.caption_batch, rng)
        classes = rng.integers(len(corpus.class_rows), size=settings.synthetic_batch)
        photos = rng.choice(corpus.photos, size=settings.photo_batch)
        features = torch.cat([synthetic.draw(classes, rng), corpus.features[photos]])
        kind_texts, kind_classes, members = corpus.draw_kinds(settings.kind_batch, rng)
        texts = rng.choice(len(corpus.bank.pooled), size=settings.text_batch, replace=False)

        parts = [captions, corpus.draw_class_texts(rng), kind_texts, texts]
        pooled = corpus.bank.pooled[np.concatenate(parts)]
        embedded = bridge(model, pooled, dropout=settings.dropout).split([len(part) for part in parts])
        images = image_embeddings(model, features)
        probabilities = corpus.class_probabilities(features)
        meant = F.normalize(probabilities @ class_meanings, dim=-1)
        pairs = image_embeddings(model, corpus.features[captioned])
        of_kinds = image_embeddings(model, synthetic.draw(kind_classes, rng))
        losses = {
            "captions": torch.stack(
                contrastive_losses(
                    pairs, embedded[0], torch.eye(len(pairs), dtype=torch.bool), settings.temperature
                )
            ).mean(),
            "classes": class_loss(images, embedded[1], probabilities, scale.exp()),
            "names": name_loss(images, embedded[1], probabilities, scale.exp()),
            "caption_relations": relation_loss(pairs, corpus.caption_meanings(captioned)),
            "kinds": torch.stack(
                contrastive_losses(of_kinds, embedded[2], members.T, settings.temperature)
            ).mean(),
            "text_relations": relation_loss(embedded[3], corpus.bank.meanings[texts]),
            "image_relations": relation_loss(images, F.normalize(features - synthetic.mean, dim=-1)),
            "class_relations": relation_loss(images, meant),
        }
        weighted = [getattr(settings.weights, name) * loss for name, loss in losses.items()]
        optimization.step(torch.stack(weighted).sum())
        means.add(step, losses)
