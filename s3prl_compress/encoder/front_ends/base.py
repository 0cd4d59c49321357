"""The interface of a front end, and the registry from the name of a family to its front end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

if TYPE_CHECKING:
    from ..shape import EncoderShape

Padding = Literal["independent", "fairseq"]


class FrontEndSettings(BaseModel):
    """Base of the settings that a front end keeps in `EncoderShape.front_end`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FrontEnd(nn.Module, ABC):
    """Maps waveforms to features, and says how many frames it makes of how many samples.

    The class methods do the arithmetic on shapes, without building anything. An instance is the
    encoder's `feature_extractor`; `build_projection` makes its `feature_projection`. A front end
    whose positions are not a convolution over time (`EncoderShape.position_conv`) adds them to
    the features itself, or does so in its projection.
    """

    settings: ClassVar[type[FrontEndSettings] | None] = None
    """Type of `EncoderShape.front_end` for this family; None: the shape has no such field."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        """The convolutions of `shape.convs`, whose channels can be pruned."""

    @classmethod
    @abstractmethod
    def check_shape(cls, shape: EncoderShape) -> None:
        """Check the fields of `shape` that this front end reads.

        Raises:
            ValueError: a field is missing, contradicts another one, or belongs to another family.
        """

    @classmethod
    @abstractmethod
    def frame_stride(cls, shape: EncoderShape) -> int:
        """Return the number of samples from one frame to the next."""

    @classmethod
    @abstractmethod
    def frames(cls, shape: EncoderShape, samples: int) -> int:
        """Return the number of frames that belong to an utterance of `samples` samples."""

    @classmethod
    @abstractmethod
    def minimum_samples(cls, shape: EncoderShape) -> int:
        """Return the smallest number of samples that gives one frame."""

    @classmethod
    @abstractmethod
    def feature_width(cls, shape: EncoderShape) -> int:
        """Return the number of features per frame."""

    @classmethod
    def frames_computed(cls, shape: EncoderShape, samples: int) -> int:
        """Return the number of frames that enter the Transformer, padding included.

        It is larger than `frames` where short utterances are padded to a fixed duration.
        """
        return cls.frames(shape, samples)

    @classmethod
    def attention_span(cls, shape: EncoderShape) -> int | None:
        """Return the number of frames that attend to each other; None: all of an utterance.

        With a number, utterances longer than it must be given whole multiples of it.
        """
        return None

    @classmethod
    def peak_elements(cls, shape: EncoderShape, samples: int) -> int:
        """Estimate how many numbers the front end holds at once for a waveform of `samples`."""
        return samples + cls.feature_width(shape) * cls.frames_computed(shape, samples)

    @classmethod
    def build_projection(cls, shape: EncoderShape) -> nn.Module:
        """Return the module that maps features [batch, frames, width] to [..., hidden]."""
        return nn.Identity()

    @abstractmethod
    def forward(
        self, waveforms: Sequence[Tensor], padding: Padding
    ) -> tuple[Tensor, Tensor | None, list[int]]:
        """Turn a batch of utterances into features.

        Args:
            waveforms: 1-D tensors on the weights' device, already normalised if that is wanted.
            padding: "independent": the features of an utterance must not depend on what it is
                batched with. "fairseq": as in the family's original training code.

        Returns:
            Features [batch, frames, width]; a mask [batch, frames] that is True where the
            Transformer may look, or None if it may look everywhere; and the number of frames that
            belong to each utterance.

        Raises:
            InputError: the family cannot encode one of the utterances (one that is too long).
        """


Class = TypeVar("Class", bound=type[FrontEnd])

FRONT_ENDS: dict[str, type[FrontEnd]] = {}
"""Front ends by the name of their family; `register_front_end` adds to it."""


def register_front_end(family: str) -> Callable[[Class], Class]:
    """Register the decorated class as the front end of shapes of this family.

    Raises:
        ValueError: another class already has this name.
    """

    def register(front_end: Class) -> Class:
        if FRONT_ENDS.setdefault(family, front_end) is not front_end:
            raise ValueError(f"family {family} is registered already, by {FRONT_ENDS[family]}")
        return front_end

    return register


def families() -> tuple[str, ...]:
    """Return the names of all registered families."""
    return tuple(FRONT_ENDS)


def front_end_class(family: str) -> type[FrontEnd]:
    """Return the front end of a family.

    Raises:
        ValueError: no front end is registered under this name.
    """
    if family not in FRONT_ENDS:
        raise ValueError(
            f"no encoder family {family!r}; there are: {', '.join(families())} (a family of "
            "another package exists once that package is imported)"
        )
    return FRONT_ENDS[family]
