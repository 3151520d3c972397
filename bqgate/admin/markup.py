"""Make HTML of the descriptions that stand in the OpenAPI document, which its format writes in Markdown.

Called by openapi_page and schema_page. markdown-it renders; raw HTML is escaped, and images and links are left as they
are written, so that a page names no other host and loads nothing. Format: https://spec.commonmark.org/0.31.2/ .
"""

from markdown_it import MarkdownIt

_LEFT_ALONE = ["autolink", "html_block", "html_inline", "image", "link"]
_RENDERER = MarkdownIt("commonmark", {"html": False}).disable(_LEFT_ALONE)


def paragraphs(text: str) -> str:
    """Blocks: paragraphs, lists, code."""
    rendered: str = _RENDERER.render(text)
    return rendered.rstrip("\n")


def inline(text: str) -> str:
    """One line within other markup."""
    rendered: str = _RENDERER.renderInline(text)
    return rendered
