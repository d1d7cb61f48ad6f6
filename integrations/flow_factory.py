"""UniSim as a reward of Flow-Factory (https://github.com/X-GenGroup/Flow-Factory), which has to be installed.

Its configuration names the class by its path; all keys that the trainer does not know are arguments of the reward:

    rewards:
      - name: unisim
        reward_model: unisim_metrics.integrations.flow_factory.UniSimPointwiseReward
        model_name_or_path: unisim-vit-l-14
        tasks: {image-text: 1.0, quality: 0.5}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flow_factory.rewards import GroupwiseRewardModel, PointwiseRewardModel, RewardModelOutput

from .rewards import GroupwiseReward, PointwiseReward, UniSimRewardFunction


class _UniSimRewardModel:
    """What both classes share: a reward from the configuration, and the call; mixed into the trainer's classes."""

    reward_function: ClassVar[type[UniSimRewardFunction]]

    # Images stay tensors on their device: no trip through Pillow.
    use_tensor_inputs = True

    def __init__(self, config: Any, accelerator: Any) -> None:
        super().__init__(config, accelerator)  # type: ignore[call-arg]
        self.reward = self.reward_function(**config.extra_kwargs)
        self.device: Any
        self.model = self.reward.model.to(self.device)
        edits = self.reward.reference_keys
        # What the trainer gathers from its processes.
        self.required_fields = ("prompt", "image", *(("condition_images",) if edits else ()))

    # The trainer passes what the signature names, and would convert and move whatever `**kwargs` let in.
    def __call__(
        self,
        prompt: Sequence[str],
        image: Sequence[Any] | None = None,
        condition_images: Sequence[Sequence[Any]] | None = None,
    ) -> RewardModelOutput:
        """Reward N images.

        Args:
            prompt: N texts.
            image: N images, tensors `[C, H, W]` in [0, 1] or PIL images.
            condition_images: For each image those that it was edited from; the first is its reference.

        Returns:
            Rewards, float32 `[N]`, and under `extra_info` what the reward's own call tells.

        Raises:
            ValueError: If there are no images, as of a model of videos, or no references for `image-image`.
        """
        if image is None:
            raise ValueError("Argument `image` must hold the images to reward, but the samples have none.")
        metadata = None
        if self.reward.reference_keys:
            if condition_images is None or any(len(conditions) == 0 for conditions in condition_images):
                raise ValueError(
                    "Argument `condition_images` must hold an image for each sample, the reference of the task"
                    " 'image-image', but some have none."
                )
            metadata = [
                dict.fromkeys(self.reward.reference_keys, conditions[0]) for conditions in condition_images
            ]
        rewards, info = self.reward(image, prompt, metadata)
        return RewardModelOutput(rewards=rewards, extra_info=info)


class UniSimPointwiseReward(_UniSimRewardModel, PointwiseRewardModel):  # type: ignore[misc]
    """A `PointwiseReward`, with its arguments from the trainer's configuration."""

    reward_function = PointwiseReward


class UniSimGroupwiseReward(_UniSimRewardModel, GroupwiseRewardModel):  # type: ignore[misc]
    """A `GroupwiseReward`, with its arguments from the trainer's configuration; the trainer brings whole groups."""

    reward_function = GroupwiseReward
