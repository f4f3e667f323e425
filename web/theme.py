"""The page's look, for Gradio's own components. Colours live in `static/tokens.css` alone."""

from __future__ import annotations

import gradio as gr

# Names of fonts that machines have; a Gradio font object would fetch its own.
_FONT = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "Liberation Mono", "monospace")

_VALUES = {
    "body_background_fill": "var(--p-ground)",
    "body_text_color": "var(--p-ink)",
    "body_text_color_subdued": "var(--p-faint)",
    "background_fill_primary": "var(--p-surface)",
    "background_fill_secondary": "var(--p-ground)",
    "border_color_primary": "var(--p-line)",
    "border_color_accent": "var(--p-accent)",
    "block_background_fill": "transparent",
    "block_border_color": "var(--p-line)",
    "block_label_text_color": "var(--p-faint)",
    "block_title_text_color": "var(--p-faint)",
    "link_text_color": "var(--p-accent)",
    "link_text_color_hover": "var(--p-accent)",
    "link_text_color_visited": "var(--p-accent)",
    "link_text_color_active": "var(--p-accent)",
    "input_background_fill": "var(--p-surface)",
    "input_background_fill_focus": "var(--p-surface)",
    "input_border_color": "var(--p-line)",
    "input_border_color_focus": "var(--p-accent)",
    "input_placeholder_color": "var(--p-faint)",
    "button_primary_background_fill": "var(--p-accent)",
    "button_primary_background_fill_hover": "var(--p-accent-strong)",
    "button_primary_text_color": "var(--p-on-accent)",
    "button_secondary_background_fill": "var(--p-surface)",
    "button_secondary_background_fill_hover": "var(--p-hover)",
    "button_secondary_text_color": "var(--p-ink)",
    "button_secondary_border_color": "var(--p-line)",
    "code_background_fill": "var(--p-code)",
    "color_accent_soft": "var(--p-accent-soft)",
}


def parley_theme() -> gr.themes.Base:
    """Light and dark in one: every value is a token that changes with the mode."""
    theme = gr.themes.Base(font=_FONT, font_mono=_MONO, radius_size="md", text_size="md")
    known = theme.set.__code__.co_varnames
    dark = {f"{name}_dark": value for name, value in _VALUES.items() if f"{name}_dark" in known}
    return theme.set(**_VALUES, **dark, color_accent="var(--p-accent)", block_border_width="0px")
