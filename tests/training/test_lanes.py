"""The state of K lanes: one map over its fields regroups it, copies it, and forgets nothing."""

from __future__ import annotations

from dataclasses import fields

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lossforge.training.lanes import LaneState, copied, gathered, mapped
from lossforge.training.stacked import Flat


def lanes(count: int, seed: int = 0) -> LaneState:
    """Lanes with something of their own in every field."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    weights = Flat.of([drawn(2, 3), drawn(), drawn(4)])
    return LaneState(
        weights=weights,
        frozen={"frozen": drawn(2)},
        buffers={"mean": drawn(3), "count": drawn()},
        momenta=[Flat.of([drawn(2, 3), drawn(), drawn(4)]) for _ in range(2)],
        curve=[drawn() for _ in range(3)],
        factors=Flat.of([drawn(2)]),
        factor_momenta=[Flat.of([drawn(2)]) for _ in range(2)],
        part_losses={"totals": drawn(2)},
        shares=[drawn(2)],
        weights_told=[drawn(2)],
        **{
            name: drawn()
            for name in ("rates", "scale", "seed_of", "finite", "total", "overflow_scale", "good_steps", "correct")
        },
    )


def tensors(state: LaneState) -> dict[str, Tensor]:
    """Every tensor of a state, with the lanes on axis 0."""
    found: dict[str, Tensor] = {}
    for one in fields(state):
        value = getattr(state, one.name)
        values = value if isinstance(value, dict) else dict(enumerate(value if isinstance(value, list) else [value]))
        for key, part in values.items():
            for place, tensor in enumerate(part.parts if isinstance(part, Flat) else [part]):
                found[f"{one.name} {key} {place}"] = tensor
    return found


@given(st.data())
def test_each_lane_takes_all_that_is_its_own_along(data: st.DataObject) -> None:
    states = [lanes(count, seed) for seed, count in enumerate(data.draw(st.lists(st.integers(1, 4), min_size=1)))]
    every = [(source, lane) for source, state in enumerate(states) for lane in range(len(state))]
    chosen = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=6))
    sources, made = [tensors(state) for state in states], gathered(states, chosen)
    assert len(made) == len(chosen)
    for name, tensor in tensors(made).items():
        assert torch.equal(tensor, torch.stack([sources[source][name][lane] for source, lane in chosen])), name


def test_a_copy_is_the_same_in_memory_of_its_own() -> None:
    one = lanes(3)
    other = copied(one)
    for mine, theirs in zip(tensors(one).values(), tensors(other).values(), strict=True):
        assert torch.equal(mine, theirs)
        assert mine.untyped_storage().data_ptr() != theirs.untyped_storage().data_ptr()


def test_what_a_step_touches_is_all_but_what_is_counted_between_steps() -> None:
    state = lanes(2)
    inside = {tensor.untyped_storage().data_ptr() for tensor in state.in_step()}
    outside = {
        name.split()[0] for name, tensor in tensors(state).items() if tensor.untyped_storage().data_ptr() not in inside
    }
    rules = {"factors", "factor_momenta", "part_losses", "shares", "weights_told"}
    assert outside == {"correct", "curve", *rules}, "no captured step has a rule for weights"
    assert state.in_step()[0] is state.weights.vector


def test_a_map_meets_every_tensor_once() -> None:
    met: list[Tensor] = []
    mapped([lanes(2)], lambda values: met.append(values[0]) or values[0])  # type: ignore[func-returns-value]
    assert len(met) == len(tensors(lanes(2)))
