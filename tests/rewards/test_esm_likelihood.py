"""Pseudo-log-likelihood under a tiny random ESM-2, against one mask and one protein at a time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from designkit.alphabet import PROTEIN, Alphabet
from designkit.errors import RewardError
from designkit.rewards.esm_likelihood import EsmLikelihood
from tests.rewards.examples import Example, random_sequences

transformers = pytest.importorskip("transformers", reason="needs transformers: designkit[esm]")

VOCABULARY = [
    *("<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO"),
    *(".", "-", "<null_1>", "<mask>"),
]
PROTEINS = [
    *random_sequences(PROTEIN, count=4, length=12),
    *random_sequences(PROTEIN, count=3, length=7, seed=1),
    "W",
]


def save_model(folder: Path, *, seed: int = 0) -> Path:
    """An ESM-2 of two layers with random weights, far from uniform, as on the hub."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY))
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = transformers.EsmConfig(
            vocab_size=len(VOCABULARY),
            mask_token_id=VOCABULARY.index("<mask>"),
            pad_token_id=VOCABULARY.index("<pad>"),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=44,
            position_embedding_type="rotary",
            token_dropout=True,
            initializer_range=0.5,
        )
        transformers.EsmForMaskedLM(config).save_pretrained(folder)
    transformers.EsmTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    transformers.utils.logging.enable_progress_bar()
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("esm"))


@pytest.fixture(scope="module")
def reward(model_folder: Path) -> EsmLikelihood:
    made = EsmLikelihood(model=str(model_folder), device="cpu")
    made.bind(PROTEIN)
    return made


def examples(folder: Path) -> list[Example]:
    model = save_model(folder / "esm")
    return [Example(f"esm_likelihood?model={model}", random_sequences(PROTEIN, 20), PROTEIN)]


def one_mask_at_a_time(folder: Path, protein: str) -> float:
    """The definition, with the tokenizer's own masks and the model's own probabilities."""
    tokenizer = transformers.EsmTokenizer.from_pretrained(folder)
    model = transformers.EsmForMaskedLM.from_pretrained(folder).eval()
    total = 0.0
    for place, letter in enumerate(protein):
        masked = tokenizer(protein[:place] + "<mask>" + protein[place + 1 :], return_tensors="pt")
        assert masked["input_ids"][0, place + 1] == tokenizer.mask_token_id
        with torch.no_grad():
            probabilities = model(**masked).logits[0, place + 1].double().softmax(-1)
        total += float(probabilities[VOCABULARY.index(letter)].log())
    return total / len(protein)


def test_equals_one_mask_at_a_time(reward: EsmLikelihood, model_folder: Path) -> None:
    expected = [one_mask_at_a_time(model_folder, protein) for protein in PROTEINS]
    assert np.std(expected) > 0.1
    scores = reward.score(PROTEINS)
    np.testing.assert_allclose(scores.values[:, 0], expected, rtol=1e-5)
    assert scores.errors == [None] * len(PROTEINS)


def test_chunks_may_end_within_a_protein(
    reward: EsmLikelihood, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = reward.score(PROTEINS).values
    sizes: list[int] = []
    model = reward._model

    def counted(tokens: torch.Tensor, **more: Any) -> Any:
        sizes.append(len(tokens))
        return model(tokens, **more)

    monkeypatch.setattr(reward, "_model", counted)
    monkeypatch.setattr("designkit.rewards.esm_likelihood._TOKENS_AT_ONCE", 5 * 14)
    np.testing.assert_allclose(reward.score(PROTEINS).values, whole, rtol=1e-5)
    assert sizes == [5] * 9 + [3] + [7] * 3 + [1]  # 48 copies of 14 tokens, 21 of 9, 1 of 3


def test_lengths_the_model_does_not_read_have_no_score(reward: EsmLikelihood) -> None:
    scores = reward.score(["", "A" * 40, "A" * 41])
    assert np.isnan(scores.values[:, 0]).tolist() == [True, False, True]
    assert scores.errors[2] == "length 41; the model reads 1 to 40 residues"


def test_version_is_that_of_the_weights(
    reward: EsmLikelihood, model_folder: Path, tmp_path: Path
) -> None:
    same = EsmLikelihood(model=str(save_model(tmp_path / "same")))
    other = EsmLikelihood(model=str(save_model(tmp_path / "other", seed=1)))
    assert same.info.version == reward.info.version != other.info.version


def test_loading_is_quiet_and_leaves_settings_alone(
    model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    EsmLikelihood(model=str(model_folder))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_what_cannot_be_loaded_is_refused(
    reward: EsmLikelihood, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RewardError, match=r"model '.*nowhere' cannot be loaded .*hf download"):
        EsmLikelihood(model=str(tmp_path / "nowhere"))
    with pytest.raises(RewardError, match="has no token for 'J'"):
        reward.bind(Alphabet("protein", tuple("AJ")))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RewardError, match="there is no GPU"):
        EsmLikelihood(model="any", device="cuda")


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(RewardError, match=r"pip install 'designkit\[esm\]'"):
        EsmLikelihood()
