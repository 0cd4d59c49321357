"""The shape of a speech encoder: everything that a forward pass needs, except the weights.

An `EncoderShape` is also a file format (it is part of a checkpoint's `config.json`), so it is
versioned and every field is explicit. A dense HuBERT is one shape, a compressed HuBERT another.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from .front_ends import FrontEnd, FrontEndSettings, front_end_class

FORMAT_VERSION: Literal[1] = 1

Family = str
"""Name of a registered front end: "hubert", "wav2vec2", "wavlm", "whisper"; see `front_ends`."""

LinearKind = Literal["dense", "low_rank", "shared", "sparse"]

# Short names of the six linears of a Transformer layer.
LINEARS = ("q", "k", "v", "out", "fc1", "fc2")

LINEAR_PATHS = {
    "q": "attention.q_proj",
    "k": "attention.k_proj",
    "v": "attention.v_proj",
    "out": "attention.out_proj",
    "fc1": "feed_forward.intermediate_dense",
    "fc2": "feed_forward.output_dense",
}
"""Module paths of the six linears within a Transformer layer."""


def linear_name(layer: int, name: str) -> str:
    """Return the full module name of one of the six linears of a layer of a `SpeechEncoder`."""
    return f"encoder.layers.{layer}.{LINEAR_PATHS[name]}"


# Upper bounds, several times those of any published model (XLS-R 2B has a hidden size of 1920, an
# FFN of 7680 and 48 layers), so that a hostile file is refused before anything is allocated.
MAX_LAYERS = 256
MAX_HEADS = 256
MAX_HIDDEN = 16_384
MAX_FFN = 65_536


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LinearShape(_Frozen):
    """The kind of one linear, and its inner size. The outer sizes follow from the layer."""

    kind: LinearKind = "dense"
    rank: int | None = Field(default=None, ge=0, le=MAX_FFN)
    """Inner size r of `U (V x) + b`, for the kind low_rank."""
    centroids: int | None = Field(default=None, ge=1, le=MAX_FFN)
    """Number K of centroid rows in `y = (C x + c)[a]`, for the kind shared."""
    nonzeros: int | None = Field(default=None, ge=0, le=MAX_FFN * MAX_HIDDEN)
    """Number of stored weights, for the kind sparse."""

    @model_validator(mode="after")
    def _one_size_for_its_kind(self) -> LinearShape:
        wanted = {"dense": None, "low_rank": "rank", "shared": "centroids", "sparse": "nonzeros"}
        for name in ("rank", "centroids", "nonzeros"):
            given = getattr(self, name) is not None
            if given != (wanted[self.kind] == name):
                state = "must not have" if given else "needs"
                raise ValueError(f"a {self.kind} linear {state} `{name}`")
        return self


DENSE = LinearShape()


class HeadShape(_Frozen):
    """One remaining attention head."""

    original: int = Field(ge=0, lt=MAX_HEADS)
    """Its index in the original model (WavLM's bias table and gates are per original head)."""
    qk: int = Field(ge=0, le=MAX_HIDDEN)
    """Rows of q and of k that belong to it. With 0, attention is uniform."""
    vo: int = Field(ge=0, le=MAX_HIDDEN)
    """Rows of v, and columns of out, that belong to it."""


class LayerShape(_Frozen):
    """One Transformer layer. It may have no heads and no FFN units; then the biases remain."""

    heads: tuple[HeadShape, ...] = Field(max_length=MAX_HEADS)
    ffn: int = Field(ge=0, le=MAX_FFN)
    q: LinearShape = DENSE
    k: LinearShape = DENSE
    v: LinearShape = DENSE
    out: LinearShape = DENSE
    fc1: LinearShape = DENSE
    fc2: LinearShape = DENSE

    @property
    def qk_size(self) -> int:
        """Rows of q and of k over all heads."""
        return sum(head.qk for head in self.heads)

    @property
    def vo_size(self) -> int:
        """Rows of v, and columns of out, over all heads."""
        return sum(head.vo for head in self.heads)

    def sizes(self, linear: str, hidden: int) -> tuple[int, int]:
        """Return (out features, in features) of one of `LINEARS`."""
        return {
            "q": (self.qk_size, hidden),
            "k": (self.qk_size, hidden),
            "v": (self.vo_size, hidden),
            "out": (hidden, self.vo_size),
            "fc1": (self.ffn, hidden),
            "fc2": (hidden, self.ffn),
        }[linear]


class ConvShape(_Frozen):
    """One layer of a convolutional front end."""

    width: int = Field(ge=1, le=8192)
    kernel: int = Field(ge=1, le=4096)
    stride: int = Field(ge=1, le=4096)


class PositionConvShape(_Frozen):
    """The grouped convolution over time in the place of position embeddings."""

    kernel: int = Field(ge=1, le=4096)
    groups: int = Field(ge=1, le=MAX_HIDDEN)


class RelativePositionShape(_Frozen):
    """WavLM's bucketed relative position bias; all layers share layer 0's table."""

    buckets: int = Field(ge=4, le=65_536)
    max_distance: int = Field(ge=2, le=1_000_000)

    @model_validator(mode="after")
    def _room_for_the_logarithm(self) -> RelativePositionShape:
        # Buckets are exact up to a quarter of their number, and logarithmic from there on.
        if self.max_distance <= self.buckets // 4:
            raise ValueError("max_distance must be above a quarter of the buckets")
        return self


class EncoderShape(_Frozen):
    """Everything that a forward pass needs to know, except the weights."""

    format_version: Literal[1] = FORMAT_VERSION
    family: Family
    """Names the front end; see `front_ends`."""
    hidden: int = Field(ge=1, le=MAX_HIDDEN)
    """Width D of the residual stream: no method changes it."""
    convs: tuple[ConvShape, ...] = Field(default=(), max_length=64)
    conv_norm: Literal["group", "layer"] | None = None
    """group: a GroupNorm with one group per channel after the first conv only (base models);
    layer: a LayerNorm over channels after every conv (large models). None: the family has no
    convolutions over samples; the same goes for `conv_bias`."""
    conv_bias: bool | None = None
    projection: bool = True
    """False: fairseq's models without `post_extract_proj` (conv width equals hidden width)."""
    feature_scale: bool = False
    """True: a factor per channel after the last convolution (DPHuBERT's soft mask)."""
    pre_norm: bool
    """True: LayerNorm before attention and FFN, and a last one at the end (large models)."""
    original_heads: int = Field(ge=1, le=MAX_HEADS)
    head_size: int = Field(ge=1, le=MAX_HIDDEN)
    """Original head size: the attention scale stays `head_size ** -0.5` whatever is pruned."""
    layer_norm_eps: float = Field(default=1e-5, gt=0)
    key_bias: bool = True
    """Whether k has a bias, which Whisper's has not. Left out of JSON if True, so that the
    fingerprints of shapes written before this field existed stay valid."""
    position_conv: PositionConvShape | None = None
    """None: the front end adds positions of another kind."""
    learned_positions: int | None = Field(default=None, ge=1, le=65_536)
    """Length of a table of positions, for families that have one."""
    relative_position: RelativePositionShape | None = None
    """Family `wavlm` only."""
    padded_frames: Literal["convolutions"] | None = None
    """How `padding="fairseq"` counts an utterance's own frames. None: as fairseq does for this
    family; "convolutions": as torchaudio does for all families. Left out of JSON if None, for the
    same reason."""
    front_end: SerializeAsAny[FrontEndSettings] | None = None
    """Settings of a front end that needs other fields than those above, in the type that the
    front end declares. Left out of JSON if None, for the same reason."""
    layers: tuple[LayerShape, ...] = Field(max_length=MAX_LAYERS)
    """From the bottom up. With no layers, the front end's projected output, with positions added,
    is the only hidden state."""
    hidden_states: tuple[int, ...] | None = Field(default=None, max_length=MAX_LAYERS + 1)
    """For each hidden state that the encoder returns, the layer whose input it is; the number of
    layers stands for the output of the last one. They rise from 0 in steps of 0, where the state
    is repeated in the place of a removed layer's output, or 1. None: every one once. Left out of
    JSON if None, for the same reason."""

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        for name in ("padded_frames", "front_end", "hidden_states"):
            if data.get(name) is None:
                data.pop(name, None)
        if data.get("key_bias"):
            del data["key_bias"]
        return data

    @field_validator("family")
    @classmethod
    def _registered(cls, family: str) -> str:
        front_end_class(family)
        return family

    @field_validator("front_end", mode="before")
    @classmethod
    def _settings_of_the_family(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None or "family" not in info.data:  # a wrong family is an error by itself
            return value
        settings = front_end_class(info.data["family"]).settings
        if settings is None:
            raise ValueError(f"family {info.data['family']}: has no front_end settings")
        return settings.model_validate(value)

    @model_validator(mode="after")
    def _consistent(self) -> EncoderShape:
        if (self._front_end.settings is None) != (self.front_end is None):
            raise ValueError(f"family {self.family}: needs front_end settings")
        self._front_end.check_shape(self)
        if self.original_heads * self.head_size != self.hidden:
            raise ValueError(
                f"{self.original_heads} original heads of size {self.head_size} do not make up "
                f"hidden {self.hidden}"
            )
        self._check_hidden_states()
        for number, layer in enumerate(self.layers):
            check_layer(layer, number, self.hidden, self.head_size)
            originals = [head.original for head in layer.heads]
            if originals != sorted(set(originals)) or any(
                original >= self.original_heads for original in originals
            ):
                raise ValueError(
                    f"layer {number}: original head numbers must increase and be below "
                    f"{self.original_heads}"
                )
        return self

    def _check_hidden_states(self) -> None:
        given = self.hidden_states
        if given is None:
            return
        every = range(len(self.layers) + 1)
        if list(given) != sorted(given) or set(given) != set(every):
            raise ValueError(
                f"hidden_states must rise from 0 to {len(self.layers)}, the number of layers, in "
                "steps of 0 or 1"
            )
        if len(given) == len(every):  # one shape, one fingerprint
            raise ValueError("hidden_states must be left out if no hidden state is repeated")

    @property
    def states(self) -> int:
        """Number of hidden states that the encoder returns."""
        return len(self.state_inputs)

    @property
    def state_inputs(self) -> tuple[int, ...]:
        """For each hidden state, the layer whose input it is; see `hidden_states`."""
        if self.hidden_states is not None:
            return self.hidden_states
        return tuple(range(len(self.layers) + 1))

    @property
    def _front_end(self) -> type[FrontEnd]:
        return front_end_class(self.family)

    def linear_name(self, layer: int, name: str) -> str:
        """Return the full module name of one of the six linears of a layer."""
        return linear_name(layer, name)

    @property
    def frame_stride(self) -> int:
        """Samples from one frame to the next (320 for all published models)."""
        return self._front_end.frame_stride(self)

    def frames(self, samples: int) -> int:
        """Return the number of frames that belong to an utterance of `samples` samples."""
        return self._front_end.frames(self, samples)

    def frames_computed(self, samples: int) -> int:
        """Return the number of frames that enter the Transformer, padding included."""
        return self._front_end.frames_computed(self, samples)

    def samples_computed(self, samples: int) -> int:
        """Return the length in samples that a forward pass over `samples` samples costs."""
        return max(samples, self.frames_computed(samples) * self.frame_stride)

    @property
    def attention_span(self) -> int | None:
        """Number of frames that attend to each other; None: all frames of an utterance."""
        return self._front_end.attention_span(self)

    @property
    def minimum_samples(self) -> int:
        """Fewest samples that give one frame (400 for all published models)."""
        return self._front_end.minimum_samples(self)

    @property
    def feature_width(self) -> int:
        """Number of features per frame that the front end makes."""
        return self._front_end.feature_width(self)

    def front_end_elements(self, samples: int) -> int:
        """Estimate how many numbers the front end holds at once for `samples` samples."""
        return self._front_end.peak_elements(self, samples)


def check_layer(layer: LayerShape, number: int, hidden: int, head_size: int) -> None:
    """Check the sizes of a layer's heads and linears.

    Raises:
        ValueError: a head is larger than the original ones, or an inner size too large.
    """
    for head in layer.heads:
        if max(head.qk, head.vo) > head_size:
            raise ValueError(
                f"layer {number}: head {head.original} has sizes {head.qk} and {head.vo}, more "
                f"than the original {head_size}"
            )
    for name in LINEARS:
        linear: LinearShape = getattr(layer, name)
        outputs, inputs = layer.sizes(name, hidden)
        # One side of every linear is `hidden`; the other may have been pruned after factoring.
        largest = {
            "rank": max(outputs, inputs),
            "centroids": max(outputs, 1),
            "nonzeros": outputs * inputs,
        }
        for size, limit in largest.items():
            given = getattr(linear, size)
            if given is not None and given > limit:
                raise ValueError(
                    f"layer {number}: {name} has {size} {given}; a matrix of {outputs} x {inputs} "
                    f"has at most {limit}"
                )


def check_counts(layers: object, heads: object) -> None:
    """Check the numbers of layers and heads in another project's configuration.

    It is done before anything is built, since huge numbers would exhaust the memory.

    Raises:
        ValueError: a number is not a whole one, or out of bounds.
    """
    bounds = (("layers", layers, 0, MAX_LAYERS), ("heads", heads, 1, MAX_HEADS))
    for name, value, least, most in bounds:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError(f"the number of {name} is {value!r}, not one from {least} to {most}")


def dense_layer(heads: int, head_size: int, ffn: int) -> LayerShape:
    """Return a layer with all heads, as in the published models."""
    return LayerShape(
        heads=tuple(HeadShape(original=n, qk=head_size, vo=head_size) for n in range(heads)),
        ffn=ffn,
    )
