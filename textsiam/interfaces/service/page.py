"""The page, and the policy under which a browser shows it: nothing from elsewhere, no script but its own."""

import base64
import hashlib
import json
import re
from importlib.resources import files

from textsiam.interfaces.service.limits import Limits
from textsiam.interfaces.service.scale import Scale

_SETTINGS = "{settings}"


def page(scale: Scale, limits: Limits) -> tuple[str, str]:
    """HTML, which knows this scale and these limits, and its Content-Security-Policy."""
    html = (files("textsiam.interfaces.service") / "page.html").read_text("utf-8")
    settings = scale._asdict() | {"most_mb": limits.body_mb, "most_questions": limits.duplicates}
    html = html.replace(_SETTINGS, json.dumps(settings).replace("<", "\\u003c"))
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    rules = {
        "default-src": "'none'",
        "script-src": f"'sha256-{_digest(script)}'",
        "style-src": f"'sha256-{_digest(style)}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return html, "; ".join(f"{name} {value}" for name, value in rules.items())


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
