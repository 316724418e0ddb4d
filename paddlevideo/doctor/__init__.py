"""The checks of ``paddlevideo doctor``."""
