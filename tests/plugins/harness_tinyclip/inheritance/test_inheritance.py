"""Manual inheritance: which of the teacher's numbers a student gets, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clip_models import tiny_clip
from harness.errors import UsageError
from harness.kit.clip.model import ClipModel
from harness.kit.clip.tokens import StandardTokenizer, WordTokenizer
from harness_tinyclip.inheritance.inheritance import (
    SharedWords,
    inherit_weights,
    inherited_layers,
    resized_positions,
)
from harness_tinyclip.inheritance.vocabulary import shared_words

TEACHER: dict[str, Any] = {"seed": 1, "width": 32, "layers": 4, "embed_dim": 12}


def teacher() -> ClipModel:
    """Four layers of four heads, with no number equal to another."""
    model = tiny_clip(**TEACHER)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def weights(model: ClipModel) -> dict[str, torch.Tensor]:
    return dict(model.model.state_dict())


class TestDepth:
    def test_nine_of_twelve_layers_in_front_are_the_first_nine(self) -> None:
        assert inherited_layers(9, 12, "interval_front") == [0, 1, 2, 3, 4, 5, 6, 7, 8]

    def test_nine_of_twelve_layers_evenly_leave_out_every_fourth(self) -> None:
        assert inherited_layers(9, 12, "even") == [0, 1, 2, 4, 5, 6, 8, 9, 10]

    @pytest.mark.parametrize("student", [1, 2, 3, 4, 6, 12])
    def test_both_are_the_same_where_the_numbers_divide(self, student: int) -> None:
        step = 12 // student
        expected = list(range(0, 12, step))
        assert inherited_layers(student, 12, "interval_front") == expected
        assert inherited_layers(student, 12, "even") == expected

    def test_a_student_gets_the_layers_of_the_list(self) -> None:
        large, small = teacher(), tiny_clip(width=32, layers=3, embed_dim=12)
        inherit_weights(small.model, large.model, "even")
        for own, source in enumerate([0, 1, 2]):
            name = "transformer.resblocks.{}.mlp.c_fc.weight"
            assert torch.equal(
                weights(small)[name.format(own)], weights(large)[name.format(source)]
            )
        small = tiny_clip(width=32, layers=2, embed_dim=12)
        inherit_weights(small.model, large.model)
        name = "visual.transformer.resblocks.{}.attn.in_proj_weight"
        assert torch.equal(weights(small)[name.format(1)], weights(large)[name.format(2)])


class TestWidth:
    def test_equal_sizes_give_the_same_model_bit_for_bit(self) -> None:
        large, small = teacher(), tiny_clip(**(TEACHER | {"seed": 9}))
        assert inherit_weights(small.model, large.model) == ()
        found, expected = weights(small), weights(large)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value), name

    def test_every_dimension_is_the_leading_part(self) -> None:
        """Against slices written out one by one."""
        large, small = teacher(), tiny_clip(width=16, layers=4, embed_dim=8)
        assert inherit_weights(small.model, large.model) == ()
        found, whole = weights(small), weights(large)
        block = "visual.transformer.resblocks.3."
        q, k, v = whole[block + "attn.in_proj_weight"].chunk(3)
        bias = whole[block + "attn.in_proj_bias"].chunk(3)
        expected = {
            "visual.conv1.weight": whole["visual.conv1.weight"][:16],
            "visual.class_embedding": whole["visual.class_embedding"][:16],
            "visual.positional_embedding": whole["visual.positional_embedding"][:, :16],
            "visual.ln_post.bias": whole["visual.ln_post.bias"][:16],
            "visual.proj": whole["visual.proj"][:16, :8],
            "text_projection": whole["text_projection"][:16, :8],
            "token_embedding.weight": whole["token_embedding.weight"][:, :16],
            "logit_scale": whole["logit_scale"],
            block + "attn.in_proj_weight": torch.cat([part[:16, :16] for part in (q, k, v)]),
            block + "attn.in_proj_bias": torch.cat([part[:16] for part in bias]),
            block + "attn.out_proj.weight": whole[block + "attn.out_proj.weight"][:16, :16],
            block + "mlp.c_fc.weight": whole[block + "mlp.c_fc.weight"][:64, :16],
            block + "mlp.c_proj.weight": whole[block + "mlp.c_proj.weight"][:16, :64],
        }
        for name, value in expected.items():
            assert torch.equal(found[name], value), name

    @pytest.mark.parametrize("third", [0, 1, 2], ids=["queries", "keys", "values"])
    @pytest.mark.parametrize("head", [0, 1, 2])
    def test_a_change_of_one_of_the_teachers_heads_is_one_of_the_students(
        self, third: int, head: int
    ) -> None:
        """Rows 0 to 3 * width of the packed matrix would put the teacher's keys into queries."""
        large = teacher()
        students = [tiny_clip(width=16, layers=4, embed_dim=8) for _ in range(2)]
        inherit_weights(students[0].model, large.model)
        name = "transformer.resblocks.0.attn.in_proj_weight"
        with torch.no_grad():
            packed = large.model.get_parameter(name).view(3, 4, 8, 32)
            packed[third, head] += 1.0
        inherit_weights(students[1].model, large.model)
        before, after = (weights(student)[name].view(3, 2, 8, 16) for student in students)
        changed = (before != after).flatten(2).any(-1)
        expected = torch.zeros(3, 2, dtype=torch.bool)
        if head < 2:
            expected[third, head] = True
        assert torch.equal(changed, expected)

    def test_a_model_that_inherits_is_still_its_own(self) -> None:
        large, small = teacher(), tiny_clip(**TEACHER)
        inherit_weights(small.model, large.model)
        before = weights(large)["visual.proj"].clone()
        with torch.no_grad():
            small.model.visual.proj.add_(1)
        assert torch.equal(weights(large)["visual.proj"], before)


class TestInputs:
    def test_only_words_that_both_have_are_inherited(self) -> None:
        large, small = teacher(), tiny_clip(width=16, embed_dim=8)
        own = weights(small)["token_embedding.weight"].clone()
        words = SharedWords(student=torch.tensor([3, 5]), teacher=torch.tensor([7, 1]))
        kept = inherit_weights(small.model, large.model, words=words)
        assert kept == ("token_embedding.weight",)
        found, whole = weights(small)["token_embedding.weight"], weights(large)
        assert torch.equal(found[3], whole["token_embedding.weight"][7, :16])
        assert torch.equal(found[5], whole["token_embedding.weight"][1, :16])
        others = [row for row in range(len(found)) if row not in (3, 5)]
        assert torch.equal(found[others], own[others])

    def test_vocabularies_of_words_share_what_both_list(self) -> None:
        student = WordTokenizer(("red", "blue", "odd"), 6)
        large = WordTokenizer(("blue", "green", "red"), 9)
        found = shared_words(student, large)
        assert found is not None
        pairs = dict(zip(found.student.tolist(), found.teacher.tolist(), strict=True))
        assert pairs == {0: 0, 1: 1, 2: 2, 3: 3, 4: 6, 5: 4, 7: 7}

    def test_words_are_found_in_a_vocabulary_of_byte_pairs(self) -> None:
        student, large = WordTokenizer(("dog", "zyzzyva"), 6), StandardTokenizer()
        dog = int(large.encode(["dog"])[0, 1])
        found = shared_words(student, large)
        assert found is not None
        pairs = dict(zip(found.student.tolist(), found.teacher.tolist(), strict=True))
        assert pairs == {3: 49406, 6: 49407, 0: 0, 4: dog}
        back = shared_words(large, student)
        assert back is not None
        assert dict(zip(back.teacher.tolist(), back.student.tolist(), strict=True)) == pairs

    def test_equal_vocabularies_need_no_list(self) -> None:
        assert shared_words(WordTokenizer(("a",), 6), WordTokenizer(("a",), 9)) is None

    @pytest.mark.parametrize("length", [6, 14])
    def test_text_positions_are_the_first_ones(self, length: int) -> None:
        large = teacher()
        small = tiny_clip(width=16, embed_dim=8, text={"context_length": length})
        own = weights(small)["positional_embedding"].clone()
        kept = inherit_weights(small.model, large.model)
        found, both = weights(small)["positional_embedding"], min(length, 10)
        assert torch.equal(found[:both], weights(large)["positional_embedding"][:both, :16])
        assert torch.equal(found[both:], own[both:])
        assert kept == (("positional_embedding",) if length > 10 else ())

    def test_a_grid_of_image_positions_is_resized(self) -> None:
        """A grid that rises along its rows still does, and the class token's stays."""
        grid = torch.arange(4.0)[:, None].expand(4, 4).reshape(16, 1)
        found = resized_positions(torch.cat([torch.tensor([[9.0]]), grid]), (4, 4), (2, 2))
        assert found[0].item() == 9.0
        rows = found[1:].reshape(2, 2)
        assert torch.allclose(rows[:, 0], rows[:, 1])
        assert rows[0, 0] < 1.5 < rows[1, 0]
        assert torch.allclose(rows.mean(), torch.tensor(1.5))

    def test_larger_images_inherit_all_but_new_positions(self) -> None:
        large = teacher()
        small = tiny_clip(width=16, embed_dim=8, size=16)
        assert inherit_weights(small.model, large.model) == ()
        assert weights(small)["visual.positional_embedding"].shape == (17, 16)

    def test_patches_of_another_size_are_the_students_own(self) -> None:
        large = teacher()
        small = tiny_clip(width=16, embed_dim=8, vision={"patch_size": 2})
        own = weights(small)["visual.conv1.weight"].clone()
        assert inherit_weights(small.model, large.model) == ("visual.conv1.weight",)
        assert torch.equal(weights(small)["visual.conv1.weight"], own)


class TestBadInput:
    @pytest.mark.parametrize(
        ("student", "message"),
        [
            ({"width": 40}, r"width of the image tower of 40, and the teacher only 32"),
            ({"width": 32, "layers": 5}, r"layers of the image tower of 5.* only 4"),
            ({"embed_dim": 13}, r"embedding width of 13.* only 12"),
            (
                {"vision": {"head_width": 4}},
                r"heads are 4 wide .*image tower 8: heads are inherited",
            ),
            (
                {"width": 32, "text": {"heads": 8}},
                r"heads of 8, and layer 1 of the teacher's text tower only 4",
            ),
            ({"text": {"heads": 4}}, r"heads are 4 wide .* 8: heads are inherited whole"),
            ({"vision": {"mlp_ratio": 16.0}}, r"feed-forward part of 256.* only 128"),
        ],
    )
    def test_what_the_teacher_has_not_is_one_clear_error(
        self, student: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message) as caught:
            inherit_weights(tiny_clip(**student).model, teacher().model)
        assert caught.value.hint

    def test_a_refused_student_keeps_its_weights(self) -> None:
        small = tiny_clip(width=40)
        before = {name: value.clone() for name, value in weights(small).items()}
        with pytest.raises(UsageError):
            inherit_weights(small.model, teacher().model)
        assert all(np.array_equal(before[name], value) for name, value in weights(small).items())
