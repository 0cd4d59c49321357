"""The command line: which commands there are, in the order in which they are used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from . import console
from .checking import check
from .encoder_commands import compress, export, inspect, method_settings, random
from .evaluation_commands import prepare, report, run, score, task_options, time
from .language_model import ngram
from .listing import ls
from .pretrain import pretrain
from .program import Command
from .publishing import card, push

COMMANDS: dict[str, Command] = {
    "ls": Command(ls, ("ls methods", "ls methods clustering", "ls tasks --json")),
    "inspect": Command(inspect, ("inspect hubert_base --json", "inspect out/fold10")),
    "random": Command(random, ("random hubert_small --seed 0 --output out/random_small",)),
    "pretrain": Command(
        pretrain,
        ("pretrain recipes/pretrain/hubert_demo.yaml --data AUDIO --output out/hubert_demo",),
    ),
    "compress": Command(
        compress,
        (
            "compress MODEL --method clustering --sparsity 0.1 --output out/fold10",
            "compress out/fold10 --method low_rank --help",
            "compress MODEL --method structured --audio DIR --sparsity 0.5 --output out/half",
            "compress MODEL --method clustering --sparsity 0.5 --then distill --audio DIR "
            "--output out/fold50",
            "compress hubert_demo --recipe structured_hubert_demo --audio DIR --output out/half",
        ),
        further_options=method_settings,
    ),
    "export": Command(
        export,
        (
            "export hubert_demo --format transformers --output out/hubert_demo_hf",
            "export hubert_demo --format onnx --dtype int8 --output out/hubert_demo.int8.onnx",
            "export MODEL --format checkpoint --dtype float16 --output out/half",
        ),
    ),
    "prepare": Command(
        prepare,
        (
            "prepare ks METADATA.csv --output corpora/ks",
            "prepare ks demo --output corpora/demo",
            "prepare er IEMOCAP --output corpora/er",
        ),
        lists_tasks=True,
    ),
    "score": Command(
        score,
        (
            "score out/fold10 --task ks --data corpora/ks --engine onepass --recipe smoke "
            "--output results/",
            "score out/fold10 --task er --data corpora/er --seeds 0-9",
            "score out/tuned --task ctc --data LibriSpeech/test-clean,LibriSpeech/test-other",
            "score out/tuned --task ctc --data LibriSpeech/test-clean --lm lm.arpa",
            "score out/w10 --task whisper --data LibriSpeech/test-clean",
        ),
        further_options=task_options,
        further_of="task",
        lists_tasks=True,
    ),
    "ngram": Command(
        ngram,
        (
            "ngram --data metadata.csv --output lm.arpa",
            "ngram --data LibriSpeech --order 6 --unit characters --output characters.arpa",
        ),
    ),
    "check": Command(
        check,
        ("check out/small --against MODEL --task ks --data demo --margin 2",),
        lists_tasks=True,
    ),
    "time": Command(time, ("time out/fold10 --against MODEL --output results/",)),
    "run": Command(
        run,
        (
            "run recipes/demo.yaml",
            "run demo --output out/demo --only 'ks*onepass*' --dry-run",
            "run recipes/superb.yaml --cluster slurm",
        ),
    ),
    "report": Command(report, ("report results/",)),
    "card": Command(card, ("card out/fold10 --records results/ --name OWNER/NAME",)),
    "push": Command(
        push,
        (
            "push out/fold10 OWNER/NAME --dry-run out/to_upload",
            "push out/fold10 OWNER/NAME --public",
        ),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the console script and return the exit code."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    return console.run_command(COMMANDS, argv)
