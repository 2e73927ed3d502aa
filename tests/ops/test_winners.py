"""The nearest prototype of each class, against a loop over pixels and classes."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmseg_proto.ops import nearest_prototypes, winning_prototypes


@settings(deadline=None)
@given(
    st.integers(0, 9), st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(0, 999)
)
def test_every_winner_is_the_nearest_that_exists(
    pixels: int, classes: int, places: int, block: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings = F.normalize(torch.randn(pixels, 6, generator=generator), dim=1)
    prototypes = F.normalize(torch.randn(classes, places, 6, generator=generator), dim=2)
    alive = torch.rand(classes, places, generator=generator) > 0.3
    found = winning_prototypes(embeddings, prototypes, alive, block_size=block)
    assert found.dtype == torch.int16
    for n in range(pixels):
        for c in range(classes):
            cosines = {
                k: float(embeddings[n] @ prototypes[c, k]) for k in range(places) if alive[c, k]
            }
            assert found[n, c] == (max(cosines, key=cosines.__getitem__) if cosines else -1)
    # It is the one whose cosine is the score of its class.
    scores = nearest_prototypes(embeddings, prototypes, alive).class_scores
    cosines_of_all = torch.einsum("nd,ckd->nck", embeddings, prototypes)
    won = cosines_of_all.gather(2, found.clamp(min=0).long()[..., None])[..., 0]
    torch.testing.assert_close(
        torch.where(found >= 0, won.clamp(min=-1), -1.0), scores, rtol=0, atol=1e-5
    )
