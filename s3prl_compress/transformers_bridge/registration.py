"""Makes transformers' auto classes know the checkpoint folders of this package."""

from __future__ import annotations

from ..common.after_import import after_import

_AUTO = "transformers.models.auto"


def register_on_import() -> None:
    """Register the classes in transformers as soon as it is imported. Does not import it."""
    after_import(
        {
            f"{_AUTO}.configuration_auto": _register_config,
            f"{_AUTO}.modeling_auto": _register_models,
            f"{_AUTO}.feature_extraction_auto": _register_feature_extractor,
            f"{_AUTO}.tokenization_auto": _register_tokenizer,
        }
    )


def _register_config() -> None:
    from transformers.models.auto.configuration_auto import AutoConfig

    from .configuration import CompressedSpeechConfig

    AutoConfig.register(CompressedSpeechConfig.model_type, CompressedSpeechConfig, exist_ok=True)


def _register_models() -> None:
    from transformers.models.auto.modeling_auto import AutoModel, AutoModelForCTC

    from .configuration import CompressedSpeechConfig
    from .modeling import CompressedSpeechForCTC, CompressedSpeechModel

    AutoModel.register(CompressedSpeechConfig, CompressedSpeechModel, exist_ok=True)
    AutoModelForCTC.register(CompressedSpeechConfig, CompressedSpeechForCTC, exist_ok=True)


def _register_feature_extractor() -> None:
    from transformers import Wav2Vec2FeatureExtractor
    from transformers.models.auto.feature_extraction_auto import AutoFeatureExtractor

    from .configuration import CompressedSpeechConfig

    AutoFeatureExtractor.register(CompressedSpeechConfig, Wav2Vec2FeatureExtractor, exist_ok=True)


def _register_tokenizer() -> None:
    from transformers import Wav2Vec2CTCTokenizer
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    from .configuration import CompressedSpeechConfig

    AutoTokenizer.register(
        CompressedSpeechConfig, slow_tokenizer_class=Wav2Vec2CTCTokenizer, exist_ok=True
    )
