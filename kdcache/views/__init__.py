"""Views: decode, draw and render, exactly repeatable, in both stages by the same code."""

from kdcache.views.decode import decode_for, decode_image
from kdcache.views.digest import thumbnail, view_digest
from kdcache.views.draw import draw
from kdcache.views.params import ViewParams
from kdcache.views.render import render, render_views

__all__ = [
    "ViewParams",
    "decode_for",
    "decode_image",
    "draw",
    "render",
    "render_views",
    "thumbnail",
    "view_digest",
]
