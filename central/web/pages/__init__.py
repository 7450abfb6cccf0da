"""The pages: each module has its routes (``PAGES``) and its texts (``TEXTS``); see :mod:`central.web.page`."""
