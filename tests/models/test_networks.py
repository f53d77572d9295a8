"""What every network promises, and what models and predictors add to them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from designkit import plugins
from designkit.alphabet import DNA, PROTEIN
from designkit.diffusion.masked import Masked
from designkit.errors import ModelError, UsageError
from designkit.models._chunks import CPU_ROWS, FixedRows, in_fixed_chunks
from designkit.models._counted import CountedSettings
from designkit.models._layers import ClassEmbedding, Conv
from designkit.models._rules import RuleSettings
from designkit.models.base import (
    DiffusionModel,
    LengthLaw,
    Predictor,
    one_hot,
)
from designkit.randomness import noise_for
from designkit.recipes.training import build_seeded

K, V = DNA.size, DNA.size + 1

# Small sizes of the built-in networks; a network that is not named here is tested as it comes.
DENOISERS: dict[str, dict[str, Any]] = {
    "cnn": {"channels": 16, "kernel": 5, "dilations": (1, 4), "repeats": 1},
    "transformer": {"channels": 16, "layers": 2, "heads": 2},
}
PREDICTORS: dict[str, dict[str, Any]] = {
    "cnn": {"channels": 12, "slots": 2, "head": 8},
    "conv_gru": {"channels": 12, "slots": 2, "head": 8, "hidden": 6, "pool": 2},
}


def denoiser(name: str, **settings: Any) -> nn.Module:
    found = plugins.find("designkit.denoisers", name)(**{**DENOISERS.get(name, {}), **settings})
    return build_seeded(lambda: found.build(V, K), 0).eval()


def diffusion_model(name: str, **settings: Any) -> DiffusionModel:
    return DiffusionModel(
        denoiser(name, **settings), Masked(size=K), DNA, LengthLaw({12: 1}), name=name
    )


def conditional_model(name: str) -> DiffusionModel:
    """A model of three classes, whose embeddings are trained as it were."""
    found = plugins.find("designkit.denoisers", name)(**DENOISERS.get(name, {}))
    net = build_seeded(lambda: found.build(V, K, 3), 0).eval()
    (embedding,) = [layer for layer in net.modules() if isinstance(layer, ClassEmbedding)]
    generator = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(embedding.weight, generator=generator)
    classes = ("low", "middle", "high")
    return DiffusionModel(net, Masked(size=K), DNA, LengthLaw({12: 1}), name=name, classes=classes)


def predictor(
    name: str, length: int = 20, members: int = 2, outputs: int = 2, **fields: Any
) -> Predictor:
    settings = plugins.find("designkit.predictors", name)(**PREDICTORS.get(name, {}))
    canvas = length + sum(map(len, fields.get("flanks", ())))
    nets = [
        build_seeded(lambda: settings.build(K, outputs, canvas), seed).eval()
        for seed in range(members)
    ]
    return Predictor(
        nets,
        DNA,
        [{"name": f"y{i}"} for i in range(outputs)],
        mean=torch.tensor([1.0, -2.0])[:outputs],
        scale=torch.tensor([3.0, 0.5])[:outputs],
        length_law=LengthLaw({length: 5}),
        name=name,
        **fields,
    )


def tokens(rows: int, length: int, states: int = K, seed: int = 0) -> Tensor:
    return torch.randint(states, (rows, length), generator=torch.Generator().manual_seed(seed))


TRAINED = [
    name
    for name in plugins.names("designkit.denoisers")
    if not issubclass(plugins.find("designkit.denoisers", name), RuleSettings | CountedSettings)
]
all_denoisers = pytest.mark.parametrize("name", TRAINED)
all_predictors = pytest.mark.parametrize("name", plugins.names("designkit.predictors"))


@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 33])
@pytest.mark.parametrize("dilation", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_conv_equals_conv1d(length: int, dilation: int, kernel: int) -> None:
    conv = build_seeded(lambda: Conv(3, 5, kernel, dilation), 1)
    x = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = nn.functional.conv1d(
        x.transpose(1, 2),
        conv.weight,
        conv.bias,
        padding=(kernel // 2) * dilation,
        dilation=dilation,
    ).transpose(1, 2)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)
    mine = torch.autograd.grad(conv(x).square().sum(), x)[0]
    theirs = torch.autograd.grad(expected.square().sum(), x)[0]
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_weights_that_change_are_seen_by_inference() -> None:
    conv, x = build_seeded(lambda: Conv(3, 5, 3), 1), torch.randn(2, 9, 3)

    def check() -> None:
        with torch.no_grad():
            found = conv(x)
        torch.testing.assert_close(found, conv(x))

    check()
    with torch.no_grad():
        conv.weight.mul_(2)
    check()
    conv.load_state_dict({name: value + 1 for name, value in conv.state_dict().items()})
    check()
    conv.weight.data = conv.weight.data.flip(0)
    check()
    short = x[:, :1]  # other taps
    with torch.no_grad():
        torch.testing.assert_close(conv(short)[:, 0], x[:, 0] @ conv.weight[:, :, 1].T + conv.bias)


@pytest.mark.parametrize(
    ("group", "field"), [("denoisers", "kernel"), ("predictors", "kernel"), ("predictors", "stem")]
)
def test_windows_have_a_middle(group: str, field: str) -> None:
    settings = plugins.find(f"designkit.{group}", "cnn")
    with pytest.raises(ValidationError, match="must be odd, not 4"):
        settings(**{field: 4})


@all_denoisers
@pytest.mark.parametrize("length", [1, 2, 12, 40])
def test_denoisers_give_logits_of_every_letter(name: str, length: int) -> None:
    x_t = one_hot(tokens(3, length, V), V)
    logits = denoiser(name)(x_t, torch.rand(3))
    assert logits.shape == (3, length, K)
    assert logits.isfinite().all()


@all_denoisers
def test_every_position_informs_the_guess_of_another(name: str) -> None:
    """Not position-wise, not blind to the mask: what stands at 3 changes the guess at 5."""
    x_t = tokens(1, 8, K)
    other = x_t.clone()
    other[0, 3] = (other[0, 3] + 1) % K
    hidden = x_t.clone()
    hidden[0, 3] = K
    net = denoiser(name)
    guesses = [net(one_hot(x, V), torch.ones(1))[0, 5] for x in (x_t, other, hidden)]
    assert not torch.allclose(guesses[0], guesses[1])
    assert not torch.allclose(guesses[0], guesses[2])


@all_denoisers
def test_classes_start_as_the_unconditional_network(name: str) -> None:
    """The same initial weights but for zeros, and so the same guess whatever the class."""
    found = plugins.find("designkit.denoisers", name)(**DENOISERS.get(name, {}))
    plain = denoiser(name)
    net = build_seeded(lambda: found.build(V, K, 2), 0).eval()
    more = {k: v for k, v in net.state_dict().items() if k not in plain.state_dict()}
    assert [(v.shape[0], float(v.abs().max())) for v in more.values()] == [(3, 0.0)]
    assert all(torch.equal(net.state_dict()[k], v) for k, v in plain.state_dict().items())
    x_t = one_hot(tokens(3, 12, V), V)
    expected = plain(x_t, torch.ones(3))
    assert torch.equal(net(x_t, torch.ones(3)), expected)
    assert torch.equal(net(x_t, torch.ones(3), torch.tensor([0, 2, 1])), expected)


@all_denoisers
def test_each_row_has_the_guess_of_its_class(name: str) -> None:
    model = conditional_model(name)
    x_t, t = tokens(40, 12, V), torch.ones(40)
    classes = torch.arange(40) % 4  # the last of four is the null class
    with torch.inference_mode():
        mixed = model.predict_x_0(x_t, t, classes)
        alone = [model.conditioned(one).predict_x_0(x_t, t) for one in model.classes]
        alone.append(model.predict_x_0(x_t, t))
    assert model.counter.rows == 5 * 40  # a conditioned model counts with the one it came from
    stacked = torch.stack(alone)
    assert torch.equal(mixed, stacked[classes, torch.arange(40)])
    hidden = (x_t == K).any(1)
    for first, second in ((0, 1), (1, 2), (2, 3), (0, 3)):
        changed = (stacked[first] - stacked[second]).abs().amax((1, 2))
        assert (changed[hidden] > 1e-3).all()
    # A condition that is given goes before the model's own.
    with torch.inference_mode():
        given = model.conditioned("low").predict_x_0(x_t, t, torch.full((40,), 2))
    assert torch.equal(given, stacked[2])


def test_a_class_that_a_model_does_not_have() -> None:
    with pytest.raises(UsageError, match=r"no class 'hihg'; did you mean 'high'\? \(its classes"):
        conditional_model("cnn").conditioned("hihg")
    with pytest.raises(UsageError, match=r"cnn: no class 'high' \(it has none\)"):
        diffusion_model("cnn").conditioned("high")


@all_denoisers
def test_tokens_and_their_one_hots_get_one_answer(name: str) -> None:
    model = diffusion_model(name)
    x_t, t = tokens(5, 12, V), torch.rand(5)
    with torch.inference_mode():
        assert torch.equal(model.logits(x_t, t), model.logits(one_hot(x_t, V), t))


@all_denoisers
def test_gradients_reach_the_relaxed_input(name: str) -> None:
    relaxed = torch.rand(2, 9, V).softmax(-1).requires_grad_()
    diffusion_model(name).logits(relaxed, torch.ones(2))[:, 4].square().sum().backward()
    assert relaxed.grad is not None
    assert relaxed.grad.isfinite().all()
    assert (relaxed.grad[:, 2:7].abs().sum(-1) > 0).all()


@all_denoisers
def test_padding_changes_nothing_for_valid_positions(name: str) -> None:
    settings: list[dict[str, Any]] = [{}, {"time_conditioned": True}]
    if name == "cnn":
        settings.append({"composition": True, "positions": 40})
    for chosen in settings:
        net = denoiser(name, **chosen)
        lengths, t = (5, 12, 1), torch.rand(3)
        alone = [tokens(1, length, V, seed=length) for length in lengths]
        padded = torch.cat([torch.cat([x, torch.full((1, 15 - x.shape[1]), 2)], 1) for x in alone])
        valid = torch.arange(15) < torch.tensor(lengths)[:, None]
        with torch.no_grad():
            together = net(one_hot(padded, V), t, valid=valid)
            blind = net(one_hot(padded, V), t)
            for row, x in enumerate(alone):
                expected = net(one_hot(x, V), t[row : row + 1])[0]
                actual = together[row, : lengths[row]]
                torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
                assert not torch.allclose(blind[row, : lengths[row]], expected, atol=1e-4)


@all_denoisers
def test_time_matters_where_it_is_asked_for(name: str) -> None:
    x_t = one_hot(tokens(1, 6, V), V)
    early, late = torch.tensor([0.9]), torch.tensor([0.1])
    plain, timed = denoiser(name), denoiser(name, time_conditioned=True)
    assert torch.equal(plain(x_t, early), plain(x_t, late))
    assert not torch.allclose(timed(x_t, early), timed(x_t, late))


@all_denoisers
def test_a_row_has_the_same_bits_in_any_batch(name: str) -> None:
    model = diffusion_model(name)
    x_t, t = tokens(64, 12, V), torch.ones(64)
    with torch.inference_mode():
        whole = model.predict_x_0(x_t, t)
        assert (model.counter.calls, model.counter.rows) == (1, 64)
        for size in (1, 7):
            parts = [model.predict_x_0(x_t[i : i + size], t[:size]) for i in range(0, 14, size)]
            assert torch.equal(torch.cat(parts), whole[:14])


@all_denoisers
def test_guess_is_normalised_and_keeps_known_letters(name: str) -> None:
    x_t = tokens(6, 12, V)
    probs = diffusion_model(name).predict_x_0(x_t, torch.ones(6))
    torch.testing.assert_close(probs.sum(-1), torch.ones(6, 12))
    known = x_t != K
    assert torch.equal(probs[known], one_hot(x_t, V)[known][:, :K])


@all_denoisers
def test_log_likelihood_does_not_depend_on_the_batch(name: str) -> None:
    model = diffusion_model(name)
    x_0 = tokens(70, 12)
    mean, error = model.log_likelihood(x_0, draws=4)
    assert mean.shape == error.shape == (70,)
    assert mean.dtype == torch.float64
    alone, _ = model.log_likelihood(x_0[66:67], draws=4)
    assert torch.equal(alone, mean[66:67])


def test_a_time_embedding_is_stored_with_the_weights() -> None:
    net = denoiser("cnn", time_conditioned=True)
    assert any("frequencies" in key for key in net.state_dict())


def test_fixed_chunks_are_all_of_one_size_and_in_order() -> None:
    sizes: list[int] = []

    def double(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x * 2

    x = torch.arange(37.0)[:, None]
    assert torch.equal(in_fixed_chunks(double, [x], CPU_ROWS), x * 2)
    assert sizes == [CPU_ROWS] * 3
    sizes.clear()
    assert torch.equal(in_fixed_chunks(double, [x], None, largest=30), x * 2)
    assert sizes == [30, 7]


@pytest.mark.parametrize("rounds_alike", [True, False])
def test_calls_are_small_only_where_that_gives_the_same_bits(rounds_alike: bool) -> None:
    sizes: list[int] = []

    def function(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x * 2 if rounds_alike else x * 2 + len(x) * 1e-6

    def trial(rows: int) -> list[Tensor]:
        return [torch.arange(float(rows))[:, None]]

    chunked = FixedRows((4,))
    x = torch.arange(3.0)[:, None]
    with torch.no_grad():
        results = [chunked(function, [x], trial) for _ in range(10)]
    assert all(torch.equal(result, results[0]) for result in results)
    assert sizes[0] == CPU_ROWS  # a trial costs more than it saves at first
    assert sizes[-1] == (4 if rounds_alike else CPU_ROWS)
    assert sizes.count(4) <= CPU_ROWS // 4 + (10 if rounds_alike else 0)
    sizes.clear()
    chunked(function, [x.requires_grad_()], trial)
    assert sizes == [CPU_ROWS]


@pytest.mark.parametrize(("total", "threads", "rows"), [(24, 2, 12), (48, 2, 24), (64, 2, 32)])
def test_rows_are_shared_evenly_among_threads(total: int, threads: int, rows: int) -> None:
    """Three calls of 16 on two threads would leave one of them idle half the time."""
    sizes: list[int] = []

    def function(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x * 2

    chunked, x = FixedRows(), torch.arange(float(total))[:, None]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            for _ in range(200):
                result = chunked(function, [x], lambda n: [torch.zeros(n, 1)])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(result, x * 2)
    assert sizes[-(total // rows) :] == [rows] * (total // rows)


@all_predictors
def test_predictions_are_in_label_units(name: str) -> None:
    model = predictor(name)
    x = tokens(5, 20)
    predicted = model.predict(x)
    assert predicted.shape == (5, 2, 2)
    with torch.inference_mode():
        raw = torch.stack([net(one_hot(x, K)) for net in model.members], 1)
    expected = raw * torch.tensor([3.0, 0.5]) + torch.tensor([1.0, -2.0])
    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(predicted[:, 0], predicted[:, 1])


@all_predictors
def test_relaxed_and_hard_predictions_agree_and_have_gradients(name: str) -> None:
    model = predictor(name)
    x = tokens(3, 20)
    relaxed = one_hot(x, K).requires_grad_()
    predicted = model.predict_relaxed(relaxed)
    torch.testing.assert_close(predicted.detach(), model.predict(x), rtol=0, atol=0)
    predicted[..., 0].sum().backward()
    assert relaxed.grad is not None
    assert relaxed.grad.isfinite().all()
    assert (relaxed.grad.abs().sum((1, 2)) > 0).all()


@all_predictors
def test_predictions_have_the_same_bits_in_any_batch(name: str) -> None:
    model = predictor(name)
    x = tokens(64, 20)
    whole = model.predict(x)
    assert (model.counter.calls, model.counter.rows) == (1, 64)
    for size in (1, 7):
        parts = [model.predict(x[i : i + size]) for i in range(0, 14, size)]
        assert torch.equal(torch.cat(parts), whole[:14])


@all_predictors
def test_both_strands_get_one_prediction(name: str) -> None:
    model = predictor(name, reverse_complement=True)
    sequences = DNA.decode(tokens(6, 20))
    turned = [DNA.reverse_complement(sequence) for sequence in sequences]
    forward, backward = (
        model.predict(torch.from_numpy(DNA.encode(words))) for words in (sequences, turned)
    )
    torch.testing.assert_close(forward, backward)
    single = predictor(name)
    one, two = (
        single.predict(torch.from_numpy(DNA.encode(words))) for words in (sequences, turned)
    )
    assert not torch.allclose(one, two)
    torch.testing.assert_close(forward, (one + two) / 2)


@all_predictors
def test_both_strands_of_a_short_sequence_get_one_prediction(name: str) -> None:
    """The canvas is filled after turning: a short sequence starts at the left on either strand."""
    model = predictor(name, reverse_complement=True)
    sequences = DNA.decode(tokens(6, 13))
    turned = [DNA.reverse_complement(sequence) for sequence in sequences]
    forward, backward = (
        model.predict(torch.from_numpy(DNA.encode(words))) for words in (sequences, turned)
    )
    torch.testing.assert_close(forward, backward)


@all_predictors
def test_flanks_are_part_of_what_is_seen(name: str) -> None:
    flanked = predictor(name, length=13, flanks=("ACGT", "TTT"), reverse_complement=True)
    whole = predictor(name, length=20, reverse_complement=True)
    inner = DNA.decode(tokens(4, 13))
    constructs = [f"ACGT{sequence}TTT" for sequence in inner]
    torch.testing.assert_close(
        flanked.predict(torch.from_numpy(DNA.encode(inner))),
        whole.predict(torch.from_numpy(DNA.encode(constructs))),
    )


@all_predictors
def test_shorter_sequences_are_laid_on_the_canvas(name: str) -> None:
    model = predictor(name)
    x = tokens(2, 17)
    canvas = torch.cat([one_hot(x, K), torch.full((2, 3, K), 1 / K)], 1)
    torch.testing.assert_close(model.predict(x), model.predict_relaxed(canvas))
    with pytest.raises(ModelError, match="at most 20 letters, not 21"):
        model.predict(tokens(1, 21))


def test_strands_need_an_alphabet_with_complements() -> None:
    with pytest.raises(ModelError, match="no complement"):
        Predictor(
            [nn.Linear(1, 1)],
            PROTEIN,
            [{"name": "y"}],
            torch.zeros(1),
            torch.ones(1),
            LengthLaw({3: 1}),
            reverse_complement=True,
        )


@pytest.mark.parametrize("time_conditioned", [False, True])
@pytest.mark.parametrize("name", sorted(DENOISERS))
def test_bfloat16_weights_give_what_autocast_gives(name: str, time_conditioned: bool) -> None:
    network = denoiser(name, time_conditioned=time_conditioned)
    model = DiffusionModel(network, Masked(size=K), DNA, LengthLaw({20: 1}), precision="bf16")
    x, t = tokens(5, 20), torch.rand(5)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = network(one_hot(x, V), t).float()
    exact = network(one_hot(x, V), t)
    with torch.inference_mode():
        found = model.logits(x, t)
        assert not torch.equal(found, exact)
        torch.testing.assert_close(found, expected, atol=0.02, rtol=0.02)
        assert torch.equal(model.logits(x, t), found)
    with torch.no_grad():  # weights that change are seen
        network.head.bias += 1
    with torch.inference_mode():
        torch.testing.assert_close(model.logits(x, t), expected + 1, atol=0.03, rtol=0.02)
    model.logits(x, t).sum().backward()  # gradients reach the weights themselves
    assert network.head.weight.grad is not None
    assert network.head.weight.dtype == torch.float32


def test_length_law_draws_lengths_as_often_as_they_occurred() -> None:
    law = LengthLaw.fit([50, 48, 50, 50, 60])
    assert (law.minimum, law.maximum, law.fixed) == (48, 60, None)
    assert LengthLaw.from_dict(law.to_dict()) == law
    drawn = law.sample(noise_for(0, 20_000))
    counts = Counter(drawn)
    assert set(counts) == {48, 50, 60}
    for length, share in ((48, 0.2), (50, 0.6), (60, 0.2)):
        assert counts[length] / 20_000 == pytest.approx(share, abs=0.015)
    assert law.sample(noise_for(0, 3, start=5)) == drawn[5:8]
    assert LengthLaw.fit([7, 7]).fixed == 7
    assert LengthLaw.fit([7, 7]).sample(noise_for(1, 4)) == [7] * 4


@all_predictors
def test_predictions_have_the_same_bits_with_any_number_of_threads(name: str) -> None:
    model = predictor(name)
    x = tokens(5 * CPU_ROWS + 3, 20)
    before = torch.get_num_threads()
    try:
        predicted = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            predicted.append(model.predict(x))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(predicted[0], predicted[1])
    assert torch.equal(predicted[0], predicted[2])
    relaxed = one_hot(x, K).requires_grad_()
    torch.set_num_threads(2)
    try:
        model.predict_relaxed(relaxed)[..., 0].sum().backward()
    finally:
        torch.set_num_threads(before)
    assert relaxed.grad is not None
    assert (relaxed.grad.abs().sum((1, 2)) > 0).all()


def test_an_error_in_a_chunk_is_raised_and_threads_are_kept() -> None:
    def fail(x: Tensor) -> Tensor:
        raise ValueError("no")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="no"):
            in_fixed_chunks(fail, [torch.zeros(40, 2)], CPU_ROWS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
