"""Teachers: frozen networks that turn views into logits."""

from kdcache.teachers.build import build_teacher
from kdcache.teachers.protocol import Teacher

__all__ = ["Teacher", "build_teacher"]
