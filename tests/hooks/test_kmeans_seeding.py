from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from toy_runner import make_runner

from mmseg_proto.hooks.kmeans_seeding import kmeans_centres

KMEANS = {"model.decode_head.seeding": {"source": "kmeans", "batches": 2}}


def test_each_look_gets_its_own_centre() -> None:
    generator = torch.Generator().manual_seed(0)
    looks = torch.eye(6)[:4]
    points = looks.repeat(50, 1) + 0.1 * torch.randn(200, 6, generator=generator)
    centres = F.normalize(kmeans_centres(F.normalize(points, dim=1), 4, seed=0), dim=1)
    cosine = looks @ centres.t()
    rows, columns = linear_sum_assignment(-cosine.numpy())
    assert (cosine[rows, columns] > 0.9).all()


def test_fewer_distinct_points_than_clusters_give_fewer_centres() -> None:
    points = torch.eye(5)[:3].repeat(4, 1)
    centres = kmeans_centres(points, 10, seed=0)
    assert len(centres) <= 3
    assert kmeans_centres(points[:1], 10, seed=0).tolist() == points[:1].tolist()


def test_prototypes_stand_before_the_first_iteration(tmp_path: Path) -> None:
    runner = make_runner(
        tmp_path, {**KMEANS, "train_cfg.max_iters": 1, "train_cfg.val_interval": 1}
    )
    seen = []
    head = runner.model.decode_head
    head.prototype_classifier.seeder.seed = lambda *_: pytest.fail("seeded from a batch")
    plain = head.loss

    def loss(*args: object, **kwargs: object) -> object:
        assert runner.model.training
        seen.append(head.prototype_classifier.bank.prototypes.clone())
        return plain(*args, **kwargs)

    head.loss = loss
    runner.train()
    bank = head.prototype_classifier.bank
    assert bank.alive_mask.all()
    torch.testing.assert_close(seen[0].norm(dim=2), torch.ones(3, 3))


def test_a_resumed_run_keeps_its_prototypes(tmp_path: Path) -> None:
    first = make_runner(tmp_path, KMEANS)
    first.train()
    halfway = Path(first.work_dir) / "iter_2.pth"
    resumed = make_runner(tmp_path, {**KMEANS, "resume": True, "load_from": str(halfway)})
    resumed.train()
    log = next(Path(resumed.log_dir).glob("*.log")).read_text()
    assert "by k-means" in next(Path(first.log_dir).glob("*.log")).read_text()
    assert "by k-means" not in log
