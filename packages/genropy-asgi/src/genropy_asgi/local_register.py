"""The register of a site inside the process that serves it, in place of the daemon's."""

import atexit
import os
import pickle
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Self

from genro_asgi.exceptions import ConfigError
from genropy_asgi.found import found

__all__ = ["LocalProxy", "install"]

_CLIENT = "gnr.web.daemon.siteregister_client"
_IMMUTABLE = (type(None), bool, int, float, str, bytes, date, timedelta)


def copied(value: Any) -> Any:
    """What the other side of a Pyro call would see: GenroPy changes what it gets, and must not change the register."""
    if isinstance(value, _IMMUTABLE):
        return value
    return pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))  # our own bytes, of a moment ago


class LocalProxy:
    """Stands where GenroPy's client has a Pyro proxy, and calls the object itself.

    One call at a time, as in the register's process; arguments and result are copies.
    """

    def __init__(self, target: Any, lock: threading.RLock) -> None:
        self._target = target
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = copied(args), copied(kwargs)
            with self._lock:
                return copied(getattr(self._target, name)(*args, **kwargs))

        return call


class Locked:
    """An object as Pyro serves it to other processes: one call at a time, together with ours."""

    def __init__(self, target: Any, lock: threading.RLock) -> None:
        self._target = target
        self._lock = lock

    def __getattr__(self, name: str) -> Any:
        found_there = getattr(self._target, name)
        if not callable(found_there):
            return found_there

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                result = found_there(*args, **kwargs)
                # It is pickled after the lock is let go.
                return copied(result)

        return call


class RegisterServer:
    """GenroPy's register server: its objects for this process, its Pyro daemon for the others on this machine."""

    def __init__(self, site: Any, domain: str) -> None:
        self.lock = threading.RLock()
        self.file = Path(site.site_path) / "sitedaemon.xml"
        self._refuse_second()
        config = site.config.getAttr("gnrdaemon") or {}
        register = found("gnr.web.daemon.siteregister")
        self.server = register.GnrSiteRegisterServer(
            sitename=domain, storage_path=os.path.join(site.site_path, "siteregister_data.pik")
        )
        self.server.start(host="localhost", port="*", hmac_key=config.get("hmac_key"), run_now=False)
        objects = self.server.daemon.objectsById
        for name in ("SiteRegister", "RemoteData"):
            objects[name] = Locked(objects[name], self.lock)
        self.siteregister = LocalProxy(self.server.siteregister, self.lock)
        self.remote_data = LocalProxy(self.server.siteregister.remotebag_handler, self.lock)

    def _refuse_second(self) -> None:
        if not self.file.is_file():
            return
        pid = found("gnr.core.gnrbag").Bag(str(self.file)).getAttr("params").get("pid")
        if pid and int(pid) != os.getpid() and found("psutil").pid_exists(int(pid)):
            raise ConfigError(f"--register=local: process {pid} is the register of this site; stop it ({self.file}).")

    def publish(self) -> None:
        """Answer other processes of the site, such as `gnr web async`, which find us as they find `gnr web daemon`."""
        bag = found("gnr.core.gnrbag").Bag()
        uris = {"register_uri": str(self.server.register_uri), "main_uri": str(self.server.main_uri)}
        bag.setItem("params", None, pid=os.getpid(), **uris)
        bag.toXml(str(self.file))
        atexit.register(self.withdraw)
        threading.Thread(target=self.server.run, name="site-register", daemon=True).start()

    def withdraw(self) -> None:
        """Be found no more."""
        self.server.stop()
        with suppress(OSError):
            self.file.unlink()


def install() -> None:
    """Have the sites made from here on in this process keep their register in it."""
    client = _client_of(found(_CLIENT))
    found(_CLIENT).SiteRegisterClient = client
    found("gnr.web.gnrwsgisite").SiteRegisterClient = client


def _client_of(module: Any) -> Any:
    base: Any = module.SiteRegisterClient
    remote_bag: Any = module.RemoteStoreBag

    class LocalStoreBag(remote_bag):  # type: ignore[misc]
        """GenroPy's view of the data of a register item, without a connection."""

        def __init__(self, server: RegisterServer, register_name: str, register_item_id: str, rootpath: Any) -> None:
            self.server = server
            self.register_name, self.register_item_id, self.rootpath = register_name, register_item_id, rootpath
            self.proxy = server.remote_data

        def chunk(self, path: str) -> Any:
            """Another view of the same data."""
            return LocalStoreBag(self.server, self.register_name, self.register_item_id, self.rootpath)

    class LocalRegisterClient(base):  # type: ignore[misc]
        """GenroPy's client with the register beside it."""

        def __init__(self, site: Any) -> None:
            self.locked_exception = module.GnrDaemonLocked
            self.site = site
            self.errors = module.Pyro4.errors
            module.Pyro4.config.SERIALIZER = "pickle"  # as the client sets it: others are called with it
            self.server = RegisterServer(site, site.currentDomainIdentifier)
            self.hmac_key = self.server.server.hmac_key
            self.siteregisterserver_uri = str(self.server.server.main_uri)
            self.siteregister_uri = str(self.server.server.register_uri)
            self.remotebag_uri = self.siteregister_uri.replace(":SiteRegister@", ":RemoteData@")
            self.siteregister = self.server.siteregister
            self.siteregister.setConfiguration(cleanup=site.custom_config.getAttr("cleanup"))
            if site.currentDomain == site.rootDomain:
                self.server.publish()

        def add_data_to_register_item(self, register_item: Any) -> Any:
            """Put the view of its data into an item."""
            name, identity = register_item["register_name"], register_item["register_item_id"]
            register_item["data"] = LocalStoreBag(self.server, name, identity, None)
            return register_item

    return LocalRegisterClient
