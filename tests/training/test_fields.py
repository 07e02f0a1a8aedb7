import numpy as np

from training.fields import FieldBank, field_bank

KINDS = ["shades", "edges", "creases", "stripes", "noise"]


def test_patterns_are_picked_from_what_the_seed_decided() -> None:
    first, again, other = FieldBank(1), FieldBank(1), FieldBank(2)

    def pick(bank: FieldBank, kind: str) -> object:
        picked = getattr(bank, kind)(np.random.default_rng(0), 6)
        assert picked.shape == (6, 28, 28), kind
        assert picked.dtype == np.float32, kind
        return picked.tobytes()

    for kind in KINDS:
        assert pick(first, kind) == pick(again, kind), kind
        assert pick(first, kind) != pick(other, kind), kind


def test_shades_change_slowly_and_stripes_fast() -> None:
    bank = field_bank(1)

    def roughness(kind: str) -> float:
        fields = getattr(bank, kind)(np.random.default_rng(0), 200)
        return float(np.abs(np.diff(fields, axis=2)).mean() / fields.std())

    order = ["shades", "edges", "creases", "noise"]
    measured = [roughness(kind) for kind in order]
    assert measured == sorted(measured)
    assert roughness("stripes") > roughness("edges")
