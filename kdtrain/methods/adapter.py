"""A trained 1x1 layer that brings the student's features to the teacher's channels."""

from typing import TYPE_CHECKING, Literal

from kdtrain.methods.base import Shape, Term

if TYPE_CHECKING:
    from kdtrain.methods.modules.base import TermModule

Adapter = Literal["auto", "conv", "conv_bn_relu", "none"]


class AdaptedTerm(Term):
    """A loss between maps of equal channels, which an adapter may have to make so."""

    adapter: Adapter = "auto"
    """A trained 1x1 layer on the student: `auto` is `conv` where features differ in channels, else `none`."""

    @property
    def equal_channels(self) -> bool:
        """Channels must agree where nothing adapts them; the channels of logits are classes."""
        logits = {*self.student_layers, *self.teacher_layers} == {"logits"}
        return self.adapter == "none" or (self.adapter == "auto" and logits)

    def module(self, student: Shape, teacher: Shape, num_classes: int) -> "TermModule":
        """The loss, behind an adapter if there is one."""
        from kdtrain.methods.modules.adapter import AdaptedModule
        from kdtrain.methods.modules.base import PlainModule

        match self.adapter:
            case "none":
                return PlainModule(self)
            case "auto" if student[0] == teacher[0]:
                return PlainModule(self)
        return AdaptedModule(self, student[0], teacher[0], self.adapter == "conv_bn_relu")
