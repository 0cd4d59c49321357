"""s3prl's own command line with the upstreams of this package.

    python -m s3prl_compress.run_downstream -m train -u compressed -k out/fold10 \
        -d speech_commands -p out/ks -g fairseq \
        -o "config.downstream_expert.datarc.speech_commands_root=DIR,,\
config.downstream_expert.datarc.speech_commands_test_root=DIR"

`-u hubert_demo` needs no `-k`, and `-u out/fold10` or `-u OWNER/NAME` stands for `-u compressed -k`
with that folder or model. The flags are those of `s3prl.run_downstream`, with three additions:

- `-g` accepts the kind of padding by name (`independent` or `fairseq`).
- Without `-c`, the downstreams `speech_commands`, `voxceleb1`, `emotion` and `asr` use SUPERB's
  settings, because the wheel of s3prl contains no configs. `asr` also gets its tables of lengths,
  below the experiment's folder.
- Without `--device`, the CPU is used if there is no GPU.

Two faults of s3prl are avoided: the list of files that `voxceleb1` caches from an earlier corpus is
ignored, and `asr` finds a `char.dict`.

Run this as a process of its own only, because s3prl's `main` replaces `builtins.isinstance`.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
from functools import partialmethod
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from .common.errors import InputError
from .common.extras import require_extra

_SILENCE = ("sv_voxceleb1", "voxceleb2_amsoftmax_segment_eval")
"""Downstreams of s3prl that use libsox's effect `silence`."""


def main(arguments: list[str] | None = None) -> int:
    """Run s3prl's command line and return the exit code, 2 for invalid input."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        require_extra("train", "s3prl's runner")
        with tempfile.TemporaryDirectory(prefix="s3prl_compress_") as scratch:
            _run(_completed(given, Path(scratch)))
        return 0
    except InputError as error:
        from .s3prl_bridge.workers import last_line

        print(f"run_downstream: {last_line(error)}", file=sys.stderr)
        return 2


def _run(arguments: list[str]) -> None:
    from .s3prl_bridge.registration import register
    from .s3prl_bridge.workers import fork_workers
    from .tasks.cli_support import patch_downstreams

    fork_workers()
    register()
    patch_downstreams()
    # s3prl counts its steps by its progress bar, so with TQDM_DISABLE training would never end.
    bar: Any = tqdm
    bar.__init__ = partialmethod(tqdm.__init__, disable=False)
    sys.argv = ["s3prl_compress.run_downstream", *arguments]
    runpy.run_module("s3prl.run_downstream", run_name="__main__")


def _completed(given: list[str], scratch: Path) -> list[str]:
    """Validate the flags before s3prl's slow start, and add the defaults that s3prl lacks."""
    flags = _read(given)
    if flags is None:
        return given  # s3prl's parser prints its usage or an error
    from .s3prl_bridge.registration import is_source

    if flags.upstream and not flags.upstream_ckpt and is_source(flags.upstream):
        flags.upstream, flags.upstream_ckpt = "compressed", flags.upstream
        given = [*given, "-u", "compressed", "-k", flags.upstream_ckpt]
    _check_upstream(flags)
    _check_downstream(flags)
    extra = _device(flags) + _absolute(flags)
    if not _resumes(flags):
        extra += _config(flags, scratch)
    return [*given, *extra]


def _read(given: list[str]) -> argparse.Namespace | None:
    """Parse the flags that matter here; None if s3prl's parser will reject them or print help."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=True, exit_on_error=False)
    names = {
        "mode": "-m", "override": "-o", "past_exp": "-e", "config": "-c", "downstream": "-d",
        "upstream": "-u", "upstream_ckpt": "-k", "expname": "-n", "expdir": "-p",
        "upstream_model_config": "-g",
    }  # fmt: skip
    for name, short in names.items():
        parser.add_argument(short, f"--{name}")
    parser.add_argument("--device")
    parser.add_argument("--hub")
    parser.add_argument("-a", "--auto_resume", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    try:
        flags, _ = parser.parse_known_args(given)
    except (argparse.ArgumentError, SystemExit):
        return None
    return None if flags.help or flags.mode is None else flags


def _check_upstream(flags: argparse.Namespace) -> None:
    from .encoder.bundled import BUNDLED, bundled_folder
    from .encoder.importers.hub import is_hub_id

    if flags.hub == "huggingface":
        raise InputError(
            "--hub huggingface: runs code from the model hub through functions that "
            "huggingface_hub has removed; omit it and give the model as -u compressed -k OWNER/NAME"
        )
    if flags.upstream in BUNDLED and not flags.upstream_ckpt:
        bundled_folder(flags.upstream)
    if flags.upstream != "compressed" or _resumes(flags):
        return
    if not flags.upstream_ckpt:
        raise InputError("-u compressed: no checkpoint; add -k FOLDER (or a hub id)")
    source = flags.upstream_ckpt
    if not (Path(source).exists() or is_hub_id(source) or source in BUNDLED):
        raise InputError(f"-k {source}: no such file or folder; give a checkpoint folder or hub id")


def _check_downstream(flags: argparse.Namespace) -> None:
    if flags.downstream not in _SILENCE:
        return
    from .s3prl_bridge.compat import apply_patches

    if "torchaudio_sox_effects" in apply_patches():
        raise InputError(
            f"-d {flags.downstream}: trims silence by libsox's effect `silence`, which torchaudio "
            "has removed in 2.9; use an environment with an earlier torchaudio and libsox"
        )


def _absolute(flags: argparse.Namespace) -> list[str]:
    """Return flags with absolute paths, because a resumed run may start in another folder."""
    given = {"-k": flags.upstream_ckpt, "-g": flags.upstream_model_config}
    paths = {name: Path(path) for name, path in given.items() if path and Path(path).exists()}
    if flags.expdir:
        paths["-p"] = Path(flags.expdir)
    return [part for name, path in paths.items() for part in (name, str(path.absolute()))]


def _device(flags: argparse.Namespace) -> list[str]:
    import torch

    if flags.device is None and not torch.cuda.is_available():
        print("run_downstream: no GPU found, adding --device cpu", file=sys.stderr)
        return ["--device", "cpu"]
    if flags.device == "cpu":
        # s3prl's evaluation enters torch.cuda.device(args.device) on every machine with a GPU.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return []


def _resumes(flags: argparse.Namespace) -> bool:
    if flags.past_exp:
        return True
    return bool(flags.auto_resume and [*_experiment(flags).glob("states-*.ckpt")])


def _config(flags: argparse.Namespace, scratch: Path) -> list[str]:
    """Return `-c FILE` with SUPERB's settings if no config is given and s3prl has no default."""
    if flags.config and not Path(flags.config).is_file():
        raise InputError(f"-c {flags.config}: no such file; give s3prl's experiment config")
    if flags.config or flags.downstream is None:
        return []
    default = Path("downstream") / flags.downstream / "config.yaml"
    if default.is_file():
        return []
    from .tasks.cli_support import adapters, official_config

    config = official_config(flags.downstream)
    if config is None:
        raise InputError(
            f"-d {flags.downstream}: s3prl's wheel contains no configs; add -c FILE (in s3prl's "
            f"repository: s3prl/downstream/{flags.downstream}/config.yaml)"
        )
    adapter, overrides = adapters()[flags.downstream], _overrides(flags)
    section = f"config.downstream_expert.{adapter.section}."
    data = {
        key.removeprefix(section): value
        for key, value in overrides.items()
        if key.startswith(section)
    }
    missing = [section + place for place in adapter.places if place not in data]
    if missing:
        raise InputError(
            f"-d {flags.downstream}: give the folder of the corpus, with -c FILE or with "
            f'-o "{",,".join(f"{name}=DIR" for name in missing)}"'
        )
    adapter.complete_config(config, data, _experiment(flags))
    file = scratch / f"{flags.downstream}.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    print("run_downstream: no -c given, using SUPERB's settings", file=sys.stderr)
    return ["-c", str(file)]


def _experiment(flags: argparse.Namespace) -> Path:
    return Path(flags.expdir or f"result/downstream/{flags.expname}")


def _overrides(flags: argparse.Namespace) -> dict[str, str]:
    """Return the values that `-o` sets, by key; its parts are separated by ",,"."""
    parts = [part.strip().partition("=") for part in (flags.override or "").split(",,")]
    return {key.strip(): value.strip(" '\"") for key, _, value in parts if key.strip()}


if __name__ == "__main__":
    raise SystemExit(main())
