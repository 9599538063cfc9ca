"""The pages: what each has of its own in pages/NAME.html, within the frame that all share."""

from pathlib import Path
from string import Template

from genro_asgi import HTMLResponse

HERE = Path(__file__).parent / "pages"

#: The pages by name: where each is from the place of the application, what leads to it, and its title.
PAGES = {
    "catalogues": ("./", "Catalogues", "Atlas"),
    "names": ("names", "Names alike", "Atlas: names that are alike"),
    "board": ("board", "Board", "Atlas: board"),
}


def page(name: str) -> HTMLResponse:
    """A page, which takes nothing from elsewhere."""
    frame = Template((HERE / "frame.html").read_text(encoding="utf-8"))
    content = (HERE / f"{name}.html").read_text(encoding="utf-8")
    html = frame.substitute(name=name, title=PAGES[name][2], links=_links(name), content=content)
    return HTMLResponse(html, headers={"content-security-policy": "default-src 'self'"})


def _links(here: str) -> str:
    return " ".join(
        f'<a href="{path}"{" aria-current=page" if name == here else ""}>{text}</a>'
        for name, (path, text, _) in PAGES.items()
    )
