# Two commands matter to a newcomer: `make demo` and `make test`. Both set up everything they need.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test torture lint bench clients deb check-deb clean

help:
	@echo "make demo    run the gateway on simulated terminals and an embedded broker; FOR=20s ends it by itself"
	@echo "make test    run all tests; JOBS=4 so many at once"
	@echo "make torture torment gateway, broker and centre; SEEDS=200 for so many seeds, SECONDS=20 for each"
	@echo "make lint    ruff and mypy"
	@echo "make bench   measure; prints the table that README quotes"
	@echo "make clients check the simulator with a client in another language; needs the npm registry"
	@echo "make deb     build the Debian package; ARCH=arm64 for a Raspberry Pi"
	@echo "make check-deb take it through its life in a fresh Debian 12; needs root and Debian's archive"
	@echo "make clean   remove the virtual environment and caches"

# constraints.txt makes every install the same; the stamp is renewed when it or pyproject.toml changes.
$(VENV)/stamp: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3.11-venv; \
	  else echo "venv is missing: sudo apt install python3.11-venv"; exit 1; fi; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/stamp
	$(BIN)/hadir demo $(if $(FOR),--for $(FOR))

# The tests need a real broker; Debian's is the one that offices run.
.PHONY: mosquitto
mosquitto:
	@command -v mosquitto >/dev/null || [ -x /usr/sbin/mosquitto ] || { \
	  if [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto mosquitto-clients openssl; \
	  else echo "the tests need the mosquitto broker: sudo apt install mosquitto mosquitto-clients openssl"; exit 1; fi; }
	@command -v mosquitto_sub >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto-clients; \
	  else echo "the tests need mosquitto_sub: sudo apt install mosquitto-clients"; exit 1; fi; }

# A power cut is made by a library that the tests compile.
.PHONY: compiler
compiler:
	@printf '#include <stdio.h>\n' | cc -E - >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev; \
	  else echo "the tests need a C compiler: sudo apt install gcc libc6-dev"; exit 1; fi; }

# The status page is tried in a real browser.
.PHONY: browser
browser:
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver; \
	  else echo "the tests need a browser: sudo apt install chromium chromium-driver"; exit 1; fi; }

# systemd's own tools judge the units; the machine need not run on it.
.PHONY: systemd-analyze
systemd-analyze:
	@command -v systemd-analyze >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends systemd; \
	  else echo "the tests need systemd-analyze: sudo apt install systemd"; exit 1; fi; }

# Many tests wait for something; JOBS=0 runs them one after the other.
JOBS ?= $(shell nproc)
test: $(VENV)/stamp mosquitto compiler browser systemd-analyze
	$(BIN)/pytest --numprocesses $(JOBS)

SEEDS ?= 20
SECONDS ?= 20
torture: $(VENV)/stamp mosquitto compiler
	$(BIN)/python -m tests.torture --seeds $(SEEDS) --seconds $(SECONDS)

lint: $(VENV)/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/stamp mosquitto
	$(BIN)/python -m benchmarks

# Not part of the tests: it fetches a package from npm, of the exact version and content that the lock file names.
.PHONY: node
node:
	@command -v node >/dev/null && command -v npm >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm; \
	  else echo "node and npm are missing: sudo apt install nodejs npm"; exit 1; fi; }

clients: $(VENV)/stamp node
	cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/pytest -s tests/clients/check_node.py

ARCH ?= $(shell dpkg --print-architecture)
REVISION ?= 1
deb: $(VENV)/stamp
	PYTHON=$(BIN)/python systemd/debian/build $(ARCH) $(REVISION)

.PHONY: debian-tools
debian-tools:
	@command -v debootstrap >/dev/null && command -v systemd-nspawn >/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap systemd-container; \
	  else echo "make check-deb must run as root"; exit 1; fi; }

# Not part of the tests: it fetches a Debian and needs root.
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
check-deb: debian-tools
	$(MAKE) deb ARCH=$(ARCH) REVISION=0
	$(MAKE) deb ARCH=$(ARCH) REVISION=1
	tests/packaging/check_deb.sh dist/hadir_$(VERSION)-0_$(ARCH).deb dist/hadir_$(VERSION)-1_$(ARCH).deb

clean:
	rm -rf $(VENV) tests/clients/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
