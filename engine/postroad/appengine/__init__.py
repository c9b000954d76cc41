"""App Engine's Mail API, as a drop-in: `from postroad.appengine import mail` instead of `from google.appengine.api import mail`.

`mail`, `mail_errors` and `apiproxy_errors` are what an application imports.  Nothing of the engine imports this package, and
importing it opens nothing and loads neither trio nor a store.
"""

from .environment import config_from_environ

__all__ = ["config_from_environ"]
