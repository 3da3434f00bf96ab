# asaleed: one Makefile for everything. "make help" lists what it can do.
#   SAN=1    address and undefined-behaviour sanitizers (its own build folder)
#   DEBUG=1  no optimisation, no LTO (its own build folder)

VERSION := 0.1.0
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
SHELL := /bin/bash

B := build$(if $(SAN),/san)$(if $(DEBUG),/debug)$(if $(COV),/cov)
ASALEED_SAMPLES ?= $(abspath ../shared/samples)
export ASALEED_SAMPLES

# ---- packages -------------------------------------------------------------------------------------------------------
# What the programs link, what the tests add, what lint and the fuzzers add: all from Debian, by name.

PACKAGES_BUILD := gcc make pkg-config libsystemd-dev libusb-1.0-0-dev libserialport-dev libsqlite3-dev \
  libmicrohttpd-dev libjansson-dev libsodium-dev nettle-dev libseccomp-dev g++ libdcmtk-dev libjpeg62-turbo-dev libpng-dev \
  libtiff-dev libxml2-dev
PACKAGES_TEST := libcmocka-dev libumockdev-dev umockdev locales sqlite3 python3 systemd dicom3tools dcmtk
PACKAGES_LINT := clang-format python3
PACKAGES_FUZZ := clang libclang-rt-14-dev
PACKAGES_PEERS := orthanc gpsd libbiosig-dev biosig-tools
PACKAGES_SYSTEM := systemd-container e2fsprogs python3

# $(call install,LIST): installs what is missing of it, and says so.
define install
@missing=$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
if [ -n "$$missing" ]; then \
  sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
  echo "Installing from Debian:" $$missing; \
  $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing \
    >/dev/null || { echo "Could not install:" $$missing >&2; exit 1; }; \
fi
endef

build/.packages: Makefile
	$(call install,$(PACKAGES_BUILD) $(PACKAGES_TEST))
	@mkdir -p build && touch $@
build/.packages-lint: Makefile
	$(call install,$(PACKAGES_LINT))
	@mkdir -p build && touch $@
build/.packages-system: Makefile
	$(call install,$(PACKAGES_SYSTEM))
	@mkdir -p build && touch $@
build/.packages-valgrind: Makefile
	$(call install,valgrind)
	@mkdir -p build && touch $@
build/.packages-fuzz: Makefile
	$(call install,$(PACKAGES_FUZZ))
	@mkdir -p build && touch $@

.PHONY: deps
deps: ## installs the missing Debian packages (root or sudo) and says which
	$(call install,$(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_LINT))
	@mkdir -p build && touch build/.packages build/.packages-lint

# ---- flags ----------------------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Werror
HARDENING := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
OPTIMISE := $(if $(DEBUG)$(COV),-O0,-O2)
ifdef COV
  SANITIZE := --coverage
else ifdef SAN
  SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else
  HARDENING += $(if $(DEBUG),,-D_FORTIFY_SOURCE=2)
  LTO := $(if $(DEBUG),,-flto=auto -ffat-lto-objects)
endif
CFLAGS_ALL = -std=gnu17 -D_GNU_SOURCE -DASALEED_VERSION='"$(VERSION)"' -g $(OPTIMISE) $(WARNINGS) $(HARDENING) \
  $(SANITIZE) $(LTO) -MMD -MP -Iinclude $(CFLAGS)
# Looking at a vptr asks the kernel, through a pipe, whether its memory is there: no sandbox of ours allows that.
CXXFLAGS_ALL = $(filter-out -std=gnu17 -Wstrict-prototypes $(CFLAGS),$(CFLAGS_ALL)) -std=gnu++17 \
  $(if $(SAN),-fno-sanitize=vptr) $(CXXFLAGS)
# Fat objects: tests link the plain code, as linking each of them with LTO would take longer than running it.
LDFLAGS_TEST = -fno-lto $(LDFLAGS_ALL)
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
LINK_LTO = $(LTO) $(OPTIMISE)
libs = $(shell pkg-config --libs $(1))

# Which folders a floor may include from: its own and lower ones (tests/lint.py checks the same).
INCLUDE_base  := -Idaemon/base
INCLUDE_model := $(INCLUDE_base) -Idaemon/model
INCLUDE_core  := $(INCLUDE_model) -Idaemon/core
INCLUDE_ctl   := $(INCLUDE_model) -Idaemon/ctl
INCLUDE_export := $(INCLUDE_model) -Idaemon/export
INCLUDE_worker := $(INCLUDE_model) -Idrivers/worker
INCLUDE_tests := $(INCLUDE_core) $(INCLUDE_worker) -Idrivers/corscience_emi12 -Idaemon/ctl -Idaemon/export -Itests/unit -Itests/sim -Itests/fuzz

# ---- objects --------------------------------------------------------------------------------------------------------

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
DRIVERS := $(filter-out drivers/worker,$(patsubst %/driver.c,%,$(wildcard drivers/*/driver.c)))

BASE   := $(call obj,$(wildcard daemon/base/*.c))
MODEL  := $(call obj,$(wildcard daemon/model/*.c))
CORE   := $(call obj,$(filter-out %/main.c,$(wildcard daemon/core/*.c)))
EXPORT := $(call obj,$(filter-out %/main.c,$(wildcard daemon/export/*.c))) $(B)/obj/daemon/export/dicom.o
CTL    := $(call obj,$(filter-out %/main.c,$(wildcard daemon/ctl/*.c)))
# What a driver's folder may include of the worker's.
DRIVERS_SHARE := $(wildcard $(addprefix drivers/worker/,crc.c text.c xml_in.c))
DRIVER := $(call obj,$(wildcard $(addsuffix /*.c,$(DRIVERS))) drivers/table.c)
WORKER := $(call obj,$(filter-out %/main.c,$(wildcard drivers/worker/*.c)))
SIM    := $(call obj,$(filter-out %/sim_main.c %/file_main.c %/tty_shim.c tests/sim/test_%,$(wildcard tests/sim/*.c)))

$(B)/obj/daemon/base/%.o:   INCLUDES = $(INCLUDE_base)
$(B)/obj/daemon/model/%.o:  INCLUDES = $(INCLUDE_model)
$(B)/obj/daemon/core/%.o:   INCLUDES = $(INCLUDE_core)
$(B)/obj/daemon/ctl/%.o:    INCLUDES = $(INCLUDE_ctl)
$(B)/obj/daemon/export/%.o: INCLUDES = $(INCLUDE_export)
$(B)/obj/drivers/%.o:       INCLUDES = -Idrivers/worker
$(B)/obj/drivers/worker/%.o: INCLUDES = $(INCLUDE_worker)
$(B)/obj/drivers/worker/xml_in.o: INCLUDES += $(shell pkg-config --cflags libxml-2.0)
$(B)/obj/tests/%.o:         INCLUDES = $(INCLUDE_tests)
# umockdev's headers are not ours to warn about.
UMOCKDEV_CFLAGS = $(shell pkg-config --cflags umockdev-1.0 libusb-1.0 | sed 's/-I/-isystem /g')
$(B)/obj/tests/sim/%.o $(B)/obj/tests/unit/usb_%.o $(B)/obj/tests/unit/test_usb%.o \
  $(B)/obj/tests/unit/test_worker_s%.o: INCLUDES = $(INCLUDE_tests) $(UMOCKDEV_CFLAGS)
$(B)/obj/tests/sim/xml_judge.o: INCLUDES = $(INCLUDE_tests) $(shell pkg-config --cflags libxml-2.0)

$(B)/obj/%.o: %.c | build/.packages
	@mkdir -p $(@D)
	@echo "  CC   $<"
	@$(CC) $(CFLAGS_ALL) $(INCLUDES) -c -o $@ $<
$(B)/obj/%.o: %.cc | build/.packages
	@mkdir -p $(@D)
	@echo "  CXX  $<"
	@$(CXX) $(CXXFLAGS_ALL) $(INCLUDES) -c -o $@ $<

# ---- programs -------------------------------------------------------------------------------------------------------

LIBS_CORE   = $(call libs,libsystemd libmicrohttpd jansson sqlite3 libsodium nettle) -lm
LIBS_MODEL  = $(call libs,jansson libsodium nettle) -lm
LIBS_WORKER = $(call libs,libusb-1.0 libserialport libseccomp jansson libsodium nettle libjpeg libpng libxml-2.0) -lm
LIBS_EXPORT = $(call libs,jansson libsodium nettle libjpeg libpng libtiff-4) -ldcmdata -loflog -lofstd -lm

PROGRAMS := $(B)/asaleed $(B)/asaleed-driver $(B)/asaleed-export $(B)/asaleectl

$(B)/asaleed: $(call obj,daemon/core/main.c) $(CORE) $(MODEL) $(BASE)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS_ALL) $(LINK_LTO) -o $@ $^ $(LIBS_CORE)
$(B)/asaleed-driver: $(call obj,drivers/worker/main.c) $(WORKER) $(DRIVER) $(MODEL) $(BASE)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS_ALL) $(LINK_LTO) -o $@ $^ $(LIBS_WORKER)
$(B)/asaleed-export: $(call obj,daemon/export/main.c) $(EXPORT) $(MODEL) $(BASE)
	@echo "  LINK $@"
	@$(CXX) $(LDFLAGS_ALL) $(LINK_LTO) -o $@ $^ $(LIBS_EXPORT)
$(B)/asaleectl: $(call obj,daemon/ctl/main.c) $(CTL) $(MODEL) $(BASE)
	@echo "  LINK $@"
	@$(CC) $(LDFLAGS_ALL) $(LINK_LTO) -o $@ $^ $(LIBS_MODEL)

.PHONY: all
all: $(PROGRAMS) ## builds the four programs into build/

# ---- tests ----------------------------------------------------------------------------------------------------------

LIBS_TEST = $(call libs,cmocka libsystemd libmicrohttpd jansson sqlite3 libsodium nettle libusb-1.0 libserialport libseccomp \
  umockdev-1.0 libjpeg libpng libxml-2.0)
EVERYTHING := $(B)/libasaleed.a
$(EVERYTHING): $(CORE) $(CTL) $(call obj,daemon/export/check.c) $(WORKER) $(DRIVER) $(MODEL) $(BASE)
	@rm -f $@ && $(AR) rcs $@ $^

# The simulated instruments, and the library that makes a pseudo-terminal pass for a serial port.
ifdef SAN
# A sanitizer's run-time and umockdev lock each other up in one process: what simulates is never instrumented.
$(B)/tests/sim: FORCE
	@$(MAKE) --no-print-directory SAN= build/tests/sim
	@mkdir -p $(@D) && cmp -s build/tests/sim $@ || cp build/tests/sim $@
.PHONY: FORCE
else
$(B)/tests/sim: $(call obj,tests/sim/sim_main.c) $(SIM) $(EVERYTHING)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_TEST) -o $@ $^ $(LIBS_TEST) -lm
endif
# Files as recorders write them.
$(B)/tests/file_maker: $(call obj,tests/sim/file_main.c) $(B)/libtests.a $(EVERYTHING)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_TEST) -o $@ $^ $(LIBS_TEST) -lm
$(B)/tests/%.so: tests/sim/%.c | build/.packages
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(filter-out $(SANITIZE) $(LTO) -fPIE,$(CFLAGS_ALL)) -fPIC -shared -o $@ $< -ldl
$(B)/tests/%.so: tests/e2e/%.c | build/.packages
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(filter-out $(SANITIZE) $(LTO) -fPIE,$(CFLAGS_ALL)) -fPIC -shared -o $@ $< -ldl

# Each test_NAME.c is a program; the other files of tests/unit are what they share.
UNIT_SHARED := $(call obj,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c)) \
  $(patsubst tests/sim/%.c,$(B)/tests/%,$(wildcard tests/sim/test_*.c))
$(B)/libtests.a: $(UNIT_SHARED) $(SIM)
	@rm -f $@ && $(AR) rcs $@ $^
$(B)/tests/test_%: $(B)/obj/tests/unit/test_%.o $(B)/libtests.a $(EVERYTHING)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_TEST) -o $@ $^ $(LIBS_TEST) -lm
# asaleed-export is tested as a program; of its parts only the judge is in the library.
$(B)/tests/test_export: LIBS_TEST += $(call libs,libjpeg libpng libtiff-4)
$(B)/tests/test_export: | $(B)/asaleed-export
$(B)/tests/test_dicom_decode: | $(B)/asaleed-export
$(B)/tests/test_export_sandbox: $(B)/obj/tests/unit/test_export_sandbox.o $(call obj,daemon/export/sandbox.c) $(BASE)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_TEST) -o $@ $^ $(call libs,cmocka)
$(B)/tests/test_%: $(B)/obj/tests/sim/test_%.o $(B)/libtests.a $(EVERYTHING)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_TEST) -o $@ $^ $(LIBS_TEST) -lm

# Fuzz targets: with gcc the corpus and deterministic mutations run in "make check"; with clang "make fuzz" searches.
LIBS_FUZZ = $(LIBS_MODEL) $(call libs,libjpeg libpng libxml-2.0)
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,$(B)/tests/fuzz_%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/tests/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(call obj,tests/fuzz/no_io.c tests/fuzz/standalone.c) $(DRIVER) \
    $(call obj,$(DRIVERS_SHARE) drivers/worker/record_build.c drivers/worker/picture_judge.c daemon/core/conf.c \
    tests/unit/picture_make.c) $(MODEL) $(BASE)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_TEST) -o $@ $^ $(LIBS_FUZZ)

# The replay transport against the captures, with faults at every byte, and their mutations.
$(B)/tests/replay $(B)/tests/mutate: $(B)/tests/%: $(B)/obj/tests/replay/%.o $(call obj,tests/replay/fixture.c) $(EVERYTHING)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_TEST) -o $@ $^ $(LIBS_TEST) -lm

# A French locale of our own, to show that no number depends on it.
$(B)/locale/fr_FR.UTF-8: | build/.packages
	@mkdir -p $(@D) && localedef -i fr_FR -f UTF-8 $@

SIMULATORS := $(B)/tests/sim $(B)/tests/file_maker $(B)/tests/tty_shim.so $(B)/tests/crash_point.so $(B)/tests/clock_step.so
CAPTURES := $(wildcard tests/captures/*/*.capture)
# A test under umockdev; with SAN=1 the sanitizer's library must come first.
WRAP := umockdev-wrapper
ifdef SAN
  export ASAN_OPTIONS := detect_leaks=1:verify_asan_link_order=0:abort_on_error=0
  export UBSAN_OPTIONS := print_stacktrace=1
endif
UNIT_WRAPPED := $(filter $(addprefix %/test_,serial_bed usb_bed phdc_usb ptp_usb ptp_powershot worker_serial usb_seam),$(UNIT))
UNIT_PLAIN := $(filter-out $(UNIT_WRAPPED),$(UNIT))
FUZZ_MUTATIONS ?= 40

# What "make check" runs: NAME=COMMAND, or NAME!=COMMAND when the exit status is the verdict (tests/run.sh).
# The longest first: two run at a time.
CHECKS = 'crash=python3 tests/e2e/crash.py $(B)' 'tray=python3 tests/e2e/tray.py $(B)' \
  'practice=python3 tests/e2e/practice.py $(B)' $(foreach t,$(UNIT_PLAIN),$(notdir $t)=$t) $(foreach t,$(UNIT_WRAPPED),'$(notdir $t)=$(WRAP) $t') \
  'golden=tests/captures/golden.sh $(B)' 'replay!=$(B)/tests/replay $(CAPTURES)' \
  'fault-sweep!=$(B)/tests/replay --sweep $(CAPTURES)' 'mutation!=$(B)/tests/mutate $(CAPTURES)' \
  $(foreach f,$(FUZZ),'$(notdir $f)!=$f -n $(FUZZ_MUTATIONS) tests/captures') \
  'simulators=python3 tests/sim/program.py $(B)' 'api=python3 tests/e2e/api.py $(B)' \
  'cooperation=python3 tests/e2e/cooperation.py $(B)' \
  'trail=python3 tests/e2e/trail.py $(B)' 'instrument=python3 tests/e2e/instrument.py $(B)' 'spirometry=python3 tests/e2e/spirometry.py $(B)' \
  'retinography=python3 tests/e2e/retinography.py $(B)' \
  'policy=python3 tests/e2e/policy.py $(B)' 'leak=python3 tests/e2e/leak.py $(B)' \
  'formats=python3 tests/e2e/formats.py $(B)' 'sticks=python3 tests/e2e/sticks.py $(B)' \
  'dicom=python3 tests/e2e/dicom.py $(B)' 'retention=python3 tests/e2e/retention.py $(B)' 'units=tests/system/units.sh'

.PHONY: check check-build
check-build: $(PROGRAMS) $(SIMULATORS) $(UNIT) $(FUZZ) $(B)/tests/replay $(B)/tests/mutate $(B)/locale/fr_FR.UTF-8
check: build/.packages ## builds and runs every test but system, long fuzzing and benchmarks; SAN=1 under sanitizers
	@$(MAKE) --no-print-directory -j$$(nproc) check-build
	@$(if $(SAN),TEST_SECONDS=1200) tests/run.sh $(B)/log $(CHECKS)

.PHONY: lint replay golden record fuzz
lint: build/.packages-lint ## format, floors, third-party headers, banned calls: silent when all is well
	@python3 tests/lint.py
replay: $(B)/tests/replay ## every capture through its driver on the replay transport
	@$< $(CAPTURES)
golden: $(PROGRAMS) ## writes the golden record of every capture anew; read the difference
	@tests/captures/golden.sh $(B) --write && git --no-pager diff --stat -- tests/captures
record: $(PROGRAMS) $(SIMULATORS) ## makes the captures anew on the simulated instruments (NAMES="normal ..." for some)
	@tests/captures/record.sh $(B) $(NAMES)

# Coverage-guided search for SECONDS a target; what it finds stays in build/fuzz.
FUZZ_SOURCES := daemon/core/conf.c drivers/worker/record_build.c drivers/worker/picture_judge.c tests/unit/picture_make.c $(wildcard daemon/base/*.c daemon/model/*.c drivers/table.c $(DRIVERS_SHARE) $(addsuffix /*.c,$(DRIVERS)))
fuzz: $(FUZZ) build/.packages-fuzz ## searches with libFuzzer (SECONDS=60 a target, NAMES="ptp ..." for some)
	@mkdir -p build/fuzz && for target in $(or $(NAMES),$(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))); do \
	  mkdir -p build/fuzz/$$target && $(B)/tests/fuzz_$$target -w build/fuzz/$$target tests/captures >/dev/null && \
	  clang -std=gnu17 -D_GNU_SOURCE -DASALEED_VERSION='"$(VERSION)"' -g -O1 -fsanitize=fuzzer,address,undefined \
	    -Iinclude $(INCLUDE_tests) $(shell pkg-config --cflags libxml-2.0) -o build/fuzz/fuzz_$$target tests/fuzz/fuzz_$$target.c tests/fuzz/no_io.c \
	    $(FUZZ_SOURCES) $(LIBS_FUZZ) && \
	  (cd build/fuzz && ./fuzz_$$target -max_total_time=$(or $(SECONDS),60) -print_final_stats=1 $$target) || exit 1; \
	done

.PHONY: run cov valgrind udev new-driver clean help
run: build/.packages ## the main job on a simulated instrument, step by step (ONCE=1 ends, REAL=/dev/ttyUSB0 a real one)
	@$(MAKE) --no-print-directory -j$$(nproc) $(PROGRAMS) $(SIMULATORS)
	@tests/e2e/demo.sh $(B)
cov: build/.packages ## line coverage of the unit tests, a line a file
	@$(MAKE) --no-print-directory -j$$(nproc) COV=1 check-build
	@$(MAKE) --no-print-directory COV=1 check >/dev/null || true
	@find build/cov/obj/daemon build/debug/obj/drivers -name '*.gcda' | while read -r f; do \
	  gcov -n -o $$(dirname $$f) $$f 2>/dev/null; done | grep -A1 "^File '\(daemon\|drivers\)" | grep -v '^--' | paste - - | \
	  sed "s/File '\(.*\)'.*Lines executed:\(.*\) of \(.*\)/\2\t\3\t\1/" | sort -u -k3
valgrind: build/.packages build/.packages-valgrind ## the unit tests under valgrind (memcheck)
	@$(MAKE) --no-print-directory -j$$(nproc) DEBUG=1 check-build
	@for t in $(patsubst $(B)/%,build/debug/%,$(UNIT_PLAIN)); do \
	  case $$t in *sandbox|*worker_run|*fail_alloc*) continue;; esac; echo "  $$t"; \
	  valgrind -q --error-exitcode=9 --leak-check=full $$t >/dev/null || exit 1; done
udev: $(B)/asaleed-driver ## prints the udev rules made from the drivers' match tables
	@$< udev
new-driver: ## NAME=vendor_model: a new driver's folder that already passes
	@drivers/new.sh "$(NAME)" "$(B)"
clean: ## removes build/
	@rm -rf build
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo "  SAN=1 sanitizers, DEBUG=1 no optimisation; each has its own folder under build/"

# ---- installing -----------------------------------------------------------------------------------------------------

SHARE := $(DESTDIR)/usr/share
UNITS := $(DESTDIR)/usr/lib/systemd/system

.PHONY: install
install: all ## installs under DESTDIR (nothing: this system); a configuration that is there stays
	@install -D -m 755 -t $(DESTDIR)/usr/sbin $(B)/asaleed
	@install -D -m 755 -t $(DESTDIR)/usr/libexec/asaleed $(B)/asaleed-driver $(B)/asaleed-export
	@install -D -m 755 -t $(DESTDIR)/usr/bin $(B)/asaleectl
	@install -D -m 644 -t $(SHARE)/asaleed config/messages.fr
	@install -d -m 755 $(DESTDIR)/etc/asaleed/devices.d
	@for f in asaleed.conf devices.d/example.conf; do \
	  [ -e $(DESTDIR)/etc/asaleed/$$f ] || install -m 644 config/$$f $(DESTDIR)/etc/asaleed/$$f || exit 1; done
	@# All or none: one that the practice renamed or took away does not come back.
	@[ -e $(DESTDIR)/etc/asaleed/protocols.d ] || \
	  install -D -m 644 -t $(DESTDIR)/etc/asaleed/protocols.d config/protocols.d/*.conf
	@install -D -m 644 -t $(UNITS) systemd/asaleed.service systemd/asaleed.socket systemd/asaleed-tcp.socket \
	  systemd/asaleed-media@.service
	@install -D -m 644 systemd/asaleed.sysusers $(DESTDIR)/usr/lib/sysusers.d/asaleed.conf
	@install -D -m 644 systemd/asaleed.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/asaleed.conf
	@install -D -m 644 -t $(SHARE)/man/man1 daemon/ctl/asaleectl.1
	@install -D -m 644 -t $(SHARE)/man/man5 config/asaleed.conf.5
	@install -D -m 644 -t $(SHARE)/man/man8 daemon/core/asaleed.8
	@install -d -m 755 $(DESTDIR)/usr/lib/udev/rules.d $(SHARE)/bash-completion/completions $(SHARE)/doc/asaleed
	@$(B)/asaleed-driver udev >$(B)/70-asaleed.rules && \
	  install -m 644 $(B)/70-asaleed.rules $(DESTDIR)/usr/lib/udev/rules.d/
	@$(B)/asaleectl completion bash >$(B)/asaleectl.bash && \
	  install -m 644 $(B)/asaleectl.bash $(SHARE)/bash-completion/completions/asaleectl
	@$(B)/asaleed --api-reference >$(B)/api.md && install -m 644 $(B)/api.md $(SHARE)/doc/asaleed/
	@[ -n "$(DESTDIR)" ] || echo "Installed. What comes next stands in README.md, \"In a practice\"."
.PHONY: uninstall
uninstall: ## removes what install put there; the store, the configuration and the account stay
	@rm -rf $(DESTDIR)/usr/sbin/asaleed $(DESTDIR)/usr/libexec/asaleed $(DESTDIR)/usr/bin/asaleectl $(SHARE)/asaleed \
	  $(SHARE)/doc/asaleed $(addprefix $(SHARE)/man/,man1/asaleectl.1 man5/asaleed.conf.5 man8/asaleed.8) \
	  $(SHARE)/bash-completion/completions/asaleectl \
	  $(addprefix $(UNITS)/asaleed,.service .socket -tcp.socket -media@.service) $(DESTDIR)/usr/lib/sysusers.d/asaleed.conf \
	  $(DESTDIR)/usr/lib/tmpfiles.d/asaleed.conf $(DESTDIR)/usr/lib/udev/rules.d/70-asaleed.rules

# ---- system tests and benchmarks ------------------------------------------------------------------------------------


.PHONY: system bench bench-build bench-peers
system: build/.packages-system $(PROGRAMS) $(SIMULATORS) ## root: real systemd in a container, power cut, unplug at every byte
	@TEST_SECONDS=1800 TEST_JOBS=1 tests/run.sh $(B)/log 'nspawn=tests/system/nspawn.sh $(B)' \
	  'power-cut=tests/system/power_cut.sh $(B)' 'unplug-at-every-byte=python3 tests/e2e/instrument.py $(B) --every' \
	  'spirometers-unplugged=python3 tests/e2e/spirometry.py $(B) --every unplug_serial unplug_usb' \
	  'cameras=python3 tests/e2e/retinography.py $(B) --every'

BENCH := $(addprefix $(B)/bench/,load audit_rate bare_store bare_pictures decode_rate file_rate measure usb_rate stamp.so)
$(B)/obj/tests/bench/%.o: INCLUDES = $(INCLUDE_tests)
$(B)/obj/tests/bench/usb_rate.o $(B)/obj/tests/bench/bare_pictures.o: INCLUDES += $(UMOCKDEV_CFLAGS)
$(B)/bench/usb_rate: $(call obj,tests/unit/usb_echo_bed.c tests/sim/usb_bed.c)
# libbiosig is a peer: linked where it is.
ifneq ($(wildcard /usr/include/biosig.h),)
  $(B)/bench/file_rate: $(call obj,tests/bench/peer_biosig.c)
  $(B)/bench/file_rate: LIBS_TEST += -lbiosig
endif
$(B)/obj/tests/bench/file_rate.o: INCLUDES += $(shell pkg-config --cflags libxml-2.0)
$(addprefix $(B)/bench/,load audit_rate bare_store bare_pictures decode_rate file_rate measure usb_rate): $(B)/bench/%: $(B)/obj/tests/bench/%.o $(EVERYTHING)
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(LDFLAGS_ALL) $(LINK_LTO) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS_TEST) -pthread -lm
$(B)/bench/%.so: tests/bench/%.c | build/.packages
	@mkdir -p $(@D) && echo "  LINK $@"
	@$(CC) $(filter-out $(SANITIZE) $(LTO) -fPIE,$(CFLAGS_ALL)) -fPIC -shared -o $@ $< -ldl
bench-build: $(PROGRAMS) $(SIMULATORS) $(BENCH)
bench: bench-build build/.packages-system ## one table: against the physical limit, gpsd, Orthanc, libbiosig and others
	@python3 tests/bench/bench.py $(B)
bench-peers: ## installs the peers of the benchmark from Debian; no service of theirs is left running
	$(call install,$(PACKAGES_PEERS))
	@sudo=$$([ $$(id -u) = 0 ] || echo sudo); for unit in orthanc.service gpsd.socket gpsd.service; do \
	  $$sudo systemctl disable --now $$unit >/dev/null 2>&1 || $$sudo service $${unit%.*} stop >/dev/null 2>&1 || true; done

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
