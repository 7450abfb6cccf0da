"""A certificate authority for tests, made with the openssl command: it issues, back-dates and revokes."""

import subprocess
from pathlib import Path
from typing import NamedTuple

_SETTINGS = """
[ca]
default_ca = here
[here]
database = index
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
default_days = 2
default_crl_days = 2
unique_subject = no
copy_extensions = copy
x509_extensions = leaf
policy = any
[any]
commonName = supplied
[leaf]
basicConstraints = critical,CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_COMPLETE = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
"""What Python 3.13 demands of an authority beyond what openssl makes by itself."""


class Certificate(NamedTuple):
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """Everything it makes lies in a folder of its own; ``ca`` is what others trust, ``revoked`` its list.

    One that is not ``complete`` lacks its key usage: strict checks refuse it.
    """

    def __init__(self, folder: Path, name: str, *, complete: bool = True) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        self.ca, self.revoked = self._folder / "ca.pem", self._folder / "revoked.pem"
        (self._folder / "settings").write_text(_SETTINGS)
        (self._folder / "index").touch()
        (self._folder / "serial").write_text("01\n")
        self._openssl(
            *("req", "-x509", *self._new_key("ca"), "-out", "ca.pem", "-days", "2"),
            *("-subj", f"/CN=authority {name}", *(_COMPLETE if complete else ())),
        )
        self._list()

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)

    @staticmethod
    def _new_key(name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")

    def _list(self) -> None:
        self._openssl("ca", "-config", "settings", "-gencrl", "-out", "revoked.pem")

    def issue(self, file: str, common_name: str = "127.0.0.1", *, expired: bool = False) -> Certificate:
        """Issue a certificate for a name, good for this machine's loopback address, in files of that name."""
        subject = "/CN=" + common_name.replace("/", "\\/")
        names = ("-addext", "subjectAltName=IP:127.0.0.1")
        self._openssl("req", *self._new_key(file), "-out", f"{file}.csr", "-subj", subject, *names)
        dates = ("-startdate", "200101000000Z", "-enddate", "200102000000Z") if expired else ()
        self._openssl(
            *("ca", "-batch", "-notext", "-config", "settings"), *("-in", f"{file}.csr", "-out", f"{file}.pem", *dates)
        )
        return Certificate(self._folder / f"{file}.pem", self._folder / f"{file}.key")

    def revoke(self, certificate: Certificate) -> None:
        """Put a certificate onto the list of the revoked."""
        self._openssl("ca", "-config", "settings", "-revoke", str(certificate.certificate))
        self._list()
