"""Pages of HTML, made of templates: whole in themselves, without scripts, nothing from elsewhere.

Templates lie beside the code that fills them, as `<name>.html.j2`; what all share lies here:
`base.html.j2` is a page, `parts.html.j2` has lists and tables, `style.css` says how they look.
Whatever is filled in is text, never markup.
"""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from plsc import __version__


def render(package: str, template: str, **values: Any) -> str:
    """Return the page that a template makes of `values`.

    Args:
        package: where the template lies; it finds those of this package, too.
        template: its file's name.
        values: by the names that the template has for them.

    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(place, ".") for place in (package, __package__)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values, version=__version__)
