"""Masked language models in the format of the transformers library."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any

from designkit.errors import RewardError


def load_masked_model(name: str) -> tuple[Any, Any]:
    """Tokenizer and network of a name or folder: from this machine, else downloaded.

    Raises:
        RewardError: transformers is not installed, or there is no such model here nor there.
    """
    try:
        from transformers import AutoModelForMaskedLM, AutoTokenizer
    except ImportError as problem:
        raise RewardError(
            "reward 'esm_likelihood' needs transformers: pip install 'designkit[esm]'"
        ) from problem

    def load(**options: Any) -> tuple[Any, Any]:
        model = AutoModelForMaskedLM.from_pretrained(name, use_safetensors=True, **options)
        return AutoTokenizer.from_pretrained(name, **options), model

    with _quiet():
        try:
            try:
                return load(local_files_only=True)
            except OSError:
                return load()
        except Exception as problem:
            reason = " ".join(str(problem).split())[:120]
            raise RewardError(
                f"reward 'esm_likelihood': model {name!r} cannot be loaded "
                f"({type(problem).__name__}: {reason}); download it where there is internet with "
                "'hf download NAME --local-dir FOLDER' and give model=FOLDER"
            ) from problem


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no notes of transformers; as before afterwards."""
    import transformers

    logging: Any = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def weights_digest(model: Any) -> str:
    """Of the weights: other weights give other scores, wherever they lie."""
    digest = hashlib.sha256()
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
