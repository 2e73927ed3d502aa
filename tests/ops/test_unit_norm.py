import pytest
import reference
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_proto.ops import matmul_dtype, unit_layer_norm, unit_norm

FORMATS = [torch.contiguous_format, torch.channels_last]


def make_problem(
    memory_format: torch.memory_format = torch.contiguous_format,
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return numbers(2, 6, 3, 5).contiguous(memory_format=memory_format), numbers(6), numbers(6)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("block_size", [4, 1000])
def test_matches_reference(
    memory_format: torch.memory_format, block_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_norm, "rows_of_a_block", lambda *_: block_size)
    features, weight, bias = make_problem(memory_format)
    units = unit_layer_norm(features, weight, bias, 1e-5, torch.float64)
    torch.testing.assert_close(units, reference.unit_layer_norm(features, weight, bias, 1e-5))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_gradcheck(memory_format: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_norm, "rows_of_a_block", lambda *_: 4)
    inputs = [tensor.requires_grad_() for tensor in make_problem(memory_format)]
    assert torch.autograd.gradcheck(
        lambda f, w, b: unit_layer_norm(f, w, b, 1e-5, torch.float64), inputs
    )


def test_a_slice_of_a_map_is_no_other_than_its_copy() -> None:
    features, weight, bias = make_problem()
    part = features[:, :, :2, 1:4]
    assert torch.equal(
        unit_layer_norm(part, weight, bias, 1e-5, torch.float64),
        unit_layer_norm(part.contiguous(), weight, bias, 1e-5, torch.float64),
    )


def test_a_pixel_without_direction_is_zero_and_gets_no_gradient() -> None:
    features = torch.randn(1, 6, 2, 2)
    features[0, :, 0, 1] = 3.0  # constant over channels: layer norm is 0
    features.requires_grad_()
    weight, bias = torch.ones(6, requires_grad=True), torch.zeros(6, requires_grad=True)
    units = unit_layer_norm(features, weight, bias, 1e-5, torch.float32)
    assert torch.equal(units[1], torch.zeros(6))
    (units * torch.arange(6)).sum().backward()
    grads = [tensor.grad for tensor in (features, weight, bias)]
    for grad in grads:
        assert grad is not None
        assert grad.abs().max() < 1e3
    assert grads[0] is not None
    assert torch.equal(grads[0][0, :, 0, 1], torch.zeros(6))


def test_half_precision_overflows_nowhere() -> None:
    features = 300 * torch.randn(2, 64, 3, 5, dtype=torch.float64)
    weight, bias = torch.ones(64), torch.zeros(64)
    units = unit_layer_norm(features.half(), weight, bias, 1e-5, torch.float16)
    assert units.dtype == torch.float16
    pixels = features.permute(0, 2, 3, 1).flatten(0, 2)
    expected = F.normalize(F.layer_norm(pixels, (64,)), dim=1)
    torch.testing.assert_close(units.double(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_dtype_of_a_product_is_that_of_autocast(dtype: torch.dtype) -> None:
    single = torch.zeros(1)
    assert matmul_dtype(single) == torch.float32
    assert matmul_dtype(single.to(dtype)) == dtype
    with torch.autocast("cpu", dtype=dtype):
        assert matmul_dtype(single) == dtype
        with torch.autocast("cpu", enabled=False):
            assert matmul_dtype(single) == torch.float32
