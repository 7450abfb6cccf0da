# Two commands matter to a newcomer: `make demo` and `make test`. Both set up everything they need.
VENV := .venv
BIN := $(VENV)/bin

# The machine's own Python if it is new enough, else another one that is. Evaluated late: `python` below may install it.
ifeq ($(origin PYTHON),undefined)
PYTHON = $(shell for python in python3 python3.11 python3.12 python3.13; do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif

# $(call needs,TEST,WHAT,PACKAGES): what TEST does not find is installed from Debian's packages, or named to who is not root.
APT := apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends
define needs
@{ $(1); } >/dev/null 2>&1 || { \
  if [ "$$(id -u)" = 0 ]; then $(APT) $(3) >/dev/null; else echo "$(2) missing: sudo apt install $(3)"; exit 1; fi; }
endef

.PHONY: help demo test torture lint texts lock bench pictures clients deb check-deb clean

help:
	@echo "make demo    replay a day of an invented office, from punches to verdicts; FOR=20s ends it by itself,"
	@echo "             HOLD=10:10 lets the day stand still then"
	@echo "make test    run all tests; JOBS=4 so many at once"
	@echo "make torture torment gateway, broker and centre; SEEDS=200 for so many seeds, SECONDS=20 for each; INPUTS=60"
	@echo "             seconds of mutated valid inputs before; CENTRE=1 instead inboxes, judges and a standby on PostgreSQL"
	@echo "make lint    ruff and mypy"
	@echo "make texts   collect the texts for people from the code, and compile their translations"
	@echo "make lock    pin what pyproject.toml needs in requirements.lock and constraints.txt; UPGRADE=1 takes newer versions"
	@echo "make bench   measure; prints the table that benchmarks/README.md quotes"
	@echo "make pictures take the pictures of the documentation anew, from the demo"
	@echo "make clients check the simulator with a client in another language; needs the npm registry"
	@echo "make deb     build the Debian packages of gateway and centre; ARCH=arm64 for a Raspberry Pi, RELEASE=trixie for Debian 13"
	@echo "make check-deb take them through their life in a fresh Debian; RELEASE=trixie; needs root and Debian's archive"
	@echo "make clean   remove the virtual environment and caches"

.PHONY: python
python:
	$(call needs,[ -n "$(PYTHON)" ],Python 3.11 or newer is,python3 python3-venv)

# constraints.txt makes every install the same; the stamp is renewed when it or pyproject.toml changes.
# An environment of another Python, such as that before an upgrade of the system, is made anew.
$(VENV)/stamp: pyproject.toml constraints.txt | python
	$(call needs,$(PYTHON) -c "import ensurepip",venv is,$$($(PYTHON) -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'))
	@[ -x $(BIN)/pip ] && [ "$$($(BIN)/python --version 2>&1)" = "$$($(PYTHON) --version)" ] || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[centre,cluster,courier,demo,dev,postgres]'
	@touch $@

# Five weeks before the day are invented, so that its pages have a month to show.
WEEKS ?= 5
demo: $(VENV)/stamp
	$(BIN)/hadir demo $(if $(FOR),--for $(FOR)) $(if $(HOLD),--hold $(HOLD)) --weeks $(WEEKS)

# The tests need a real broker; Debian's is the one that offices run.
.PHONY: mosquitto
mosquitto:
	$(call needs,PATH="$$PATH:/usr/sbin" command -v mosquitto && command -v mosquitto_sub && command -v openssl,\
	  the mosquitto broker is,mosquitto mosquitto-clients openssl)

# The centre's store is tried on servers of the tests' own, beside the one that Debian's package starts.
.PHONY: postgresql
postgresql:
	$(call needs,ls /usr/lib/postgresql/*/bin/initdb && command -v setpriv,PostgreSQL is,postgresql)

# The lines for an app's developers in docs/webhook.md are run with it.
.PHONY: curl
curl:
	$(call needs,command -v curl,curl is,curl)

# A power cut is made by a library that the tests compile.
.PHONY: compiler
compiler:
	$(call needs,printf '#include <stdio.h>\n' | cc -E -,a C compiler is,gcc libc6-dev)

# The status page is tried in a real browser.
.PHONY: browser
browser:
	$(call needs,command -v chromium && command -v chromedriver,a browser is,chromium chromium-driver)

# systemd's own tools judge the units; the machine need not run on it.
.PHONY: systemd-analyze
systemd-analyze:
	$(call needs,command -v systemd-analyze,systemd-analyze is,systemd)

# Most tests wait for something most of the time; JOBS=0 runs them one after the other.
JOBS ?= $(shell expr 2 '*' $$(nproc))
test: $(VENV)/stamp mosquitto postgresql curl compiler browser systemd-analyze
	$(BIN)/pytest --numprocesses $(JOBS)

SEEDS ?= 20
SECONDS ?= 20
INPUTS ?= 60
FIRST ?= 1
torture: $(VENV)/stamp mosquitto compiler $(if $(CENTRE),postgresql)
	$(if $(CENTRE),,$(BIN)/python -m tests.torture.inputs --seconds $(INPUTS))
	$(BIN)/python -m tests.torture $(if $(CENTRE),--centre) --first $(FIRST) --seeds $(SEEDS) --seconds $(SECONDS)

lint: $(VENV)/stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The code holds English, gateway/locale and central/locale the translations. Texts without one stay empty in hadir.po, and a test fails.
texts: $(VENV)/stamp
	$(BIN)/python packaging/texts.py

# uv resolves for every Python and processor at once. Pins that still fit stay, unless UPGRADE=1; UPGRADE=NAME for one of them.
UV := uv==0.13.9
lock: | python
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet --disable-pip-version-check '$(UV)'
	build/lock/bin/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --all-extras --generate-hashes \
	  --no-header --no-annotate $(if $(UPGRADE),$(if $(filter 1,$(UPGRADE)),--upgrade,--upgrade-package $(UPGRADE))) \
	  pyproject.toml --output-file requirements.lock
	sed -n 's/^\([^ ;]*==[^ ;]*\).*/\1/p' requirements.lock > constraints.txt

bench: $(VENV)/stamp mosquitto
	$(BIN)/python -m benchmarks

.PHONY: pngquant
pngquant:
	$(call needs,command -v pngquant,pngquant is,pngquant)

pictures: $(VENV)/stamp browser pngquant
	$(BIN)/python docs/pictures/make.py

# Not part of the tests: it fetches a package from npm, of the exact version and content that the lock file names.
.PHONY: node
node:
	$(call needs,command -v node && command -v npm,node and npm are,nodejs npm)

clients: $(VENV)/stamp node
	cd tests/clients && npm ci --ignore-scripts --no-audit --no-fund
	$(BIN)/pytest -s tests/clients/check_node.py

ARCH ?= $(shell dpkg --print-architecture)
REVISION ?= 1
RELEASE ?= bookworm
# The gateway's and the centre's; the centre has none for 32-bit ARM.
PACKAGES ?= hadir $(if $(filter armhf,$(ARCH)),,hadir-central)
deb: $(VENV)/stamp
	@for package in $(PACKAGES); do \
	  PYTHON=$(BIN)/python packaging/debian/build $$package $(RELEASE) $(ARCH) $(REVISION) || exit; done

.PHONY: debian-tools
debian-tools:
	$(call needs,command -v debootstrap && command -v systemd-nspawn,make check-deb must run as root; something is,debootstrap systemd-container)

# Not part of the tests: it fetches a Debian and needs root.
check-deb: debian-tools
	$(MAKE) deb ARCH=$(ARCH) RELEASE=$(RELEASE) REVISION=0
	$(MAKE) deb ARCH=$(ARCH) RELEASE=$(RELEASE) REVISION=1
	tests/packaging/check_deb.sh $(RELEASE) $(ARCH)
	tests/packaging/check_deb_central.sh $(RELEASE) $(ARCH)

clean:
	rm -rf $(VENV) tests/clients/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
