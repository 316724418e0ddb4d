"""later"""

from typing import Any

EfficientNetSession: Any = None
