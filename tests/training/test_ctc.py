from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import HubertConfig, HubertForCTC

from s3prl_compress.audio import open_transcribed
from s3prl_compress.common.errors import InputError
from s3prl_compress.encoder import CTCHead, load
from s3prl_compress.encoder.ctc_text import encode
from s3prl_compress.training.ctc import TranscribedBatches, ctc_loss, drop_long_utterances

VOCABULARY = ("a", "|", "<pad>", "b")


def test_the_loss_is_that_of_transformers(tmp_path: Path) -> None:
    config = HubertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=20,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        vocab_size=4,
        pad_token_id=2,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        apply_spec_augment=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HubertForCTC(config).eval()
        waveforms = [torch.randn(9000), torch.randn(9000)]
    model.save_pretrained(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0, "|": 1, "<pad>": 2, "b": 3}')
    texts = ["ab bba", "b"]
    targets = [torch.tensor(encode(text, VOCABULARY)) for text in texts]
    labels = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=-100)
    expected = model(torch.stack(waveforms), labels=labels).loss

    encoder = load(tmp_path)
    assert encoder.head is not None
    states, counts = encoder(waveforms)
    loss = ctc_loss(encoder.head, states[-1], counts, targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_padding_and_impossible_utterances_do_no_harm() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = CTCHead(6, VOCABULARY, 2)
        hidden = torch.randn(2, 9, 6, requires_grad=True)
    targets = [torch.tensor([0, 3]), torch.tensor([3, 3, 3, 3])]
    loss = ctc_loss(head, hidden, torch.tensor([5, 4]), targets)
    loss.backward()
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()
    assert hidden.grad[0, 5:].abs().max() == 0
    assert hidden.grad[1].abs().max() == 0  # four equal symbols need seven frames
    alone = ctc_loss(head, hidden[:1, :5], torch.tensor([5]), targets[:1])
    assert loss.item() == pytest.approx(alone.item() / 2, rel=1e-5)


def test_batches_keep_whole_utterances_with_their_texts(transcribed: Path) -> None:
    speech = open_transcribed(transcribed)
    vocabulary = ("<pad>", "|", "a", "b", "c", "d")
    planned = TranscribedBatches(speech, vocabulary, 2.5, seed=3)
    source = planned.batches.iterate()
    seen = []
    for _ in range(planned.batches.per_pass):
        crops, waveforms = next(source)
        assert sum(map(len, waveforms)) <= 40_000
        for crop, waveform in zip(crops, waveforms, strict=True):
            assert torch.equal(waveform, speech.audio.read(crop.file))
            assert planned.targets[crop.file].tolist() == encode(
                speech.texts[crop.file], vocabulary
            )
            seen.append(crop.file)
    assert sorted(seen) == list(range(24))


def test_long_utterances_are_left_out(transcribed: Path) -> None:
    speech = open_transcribed(transcribed)
    short = drop_long_utterances(speech, 1.0)
    assert 0 < len(short.texts) < len(speech.texts)
    assert max(short.audio.lengths) <= 16_000
    with pytest.raises(InputError, match="longer than"):
        drop_long_utterances(speech, 0.01)
