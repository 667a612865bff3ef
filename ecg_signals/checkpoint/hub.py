"""Models by their name on the Hugging Face hub: downloaded once, then read from the local cache, also offline."""

import os
import re
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.interop.huggingface.folder import CONFIG, HUB_FILES

_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<file>[\w./-]+\.(?:pt|pth|bin)))?")


def is_hub_name(source: str) -> bool:
    """Whether `source`, which is no path that exists, reads like `org/name` or `org/name/FILE.pt`."""
    found = _NAME.fullmatch(source)
    if found is None or source.startswith(".") or Path(source).parts[0] == "..":
        return False
    looks_local = found["repository"].endswith((".pt", ".pth", ".bin")) or Path(source).parent.is_dir()
    return not looks_local


def fetch(source: str, **options: Any) -> Path:
    """The local folder of `org/name`, or the local file of `org/name/FILE.pt`.

    `options` are huggingface_hub's, such as revision, cache_dir, token. With HF_HUB_OFFLINE=1 nothing is asked of the
    network.
    Raises: ConfigError when huggingface_hub is missing, or the files are neither in the cache nor reachable.
    """
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError:
        raise ConfigError(
            f"'{source}' is no file or folder here; to look for it on the Hugging Face hub, "
            f'pip install "ecg-signals[hf]"'
        ) from None
    found = _NAME.fullmatch(source)
    assert found is not None
    try:
        if found["file"]:
            return Path(hf_hub_download(found["repository"], found["file"], **options))
        folder = Path(snapshot_download(found["repository"], allow_patterns=list(HUB_FILES), **options))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ConfigError(_unreachable(source, found["repository"], found["file"], error)) from None
    if not (folder / CONFIG).is_file():
        raise ConfigError(
            f"{source} on the hub has no {CONFIG}; if it holds a checkpoint file, name it: {source}/FILE.pt"
        )
    return folder


def _unreachable(source: str, repository: str, file: str | None, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]
    offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
    wanted = file or f"{CONFIG} and model.safetensors"
    return (
        f"'{source}' is no file or folder here, is not in the cache, and cannot be had from "
        f"https://huggingface.co/{repository}{offline}: {type(error).__name__}: {reason}. Check the name and the "
        f"network, or download {wanted} by hand and give the path."
    )
