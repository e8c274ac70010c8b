# What one needs to know: `make run` shows the thing working, `make test` tests it. Both need only Go.

GO ?= go
export CGO_ENABLED = 0

# Packages that run driver code cannot run under the race detector: it needs cgo, and it does not
# know of accesses that driver code makes.
RACE_PACKAGES = ./nt/... ./guest/... ./pe/... ./ntoskrnl/cm/... ./ntoskrnl/ob/... ./ntoskrnl/rtl/... \
	./driverhost/wire/... ./client/... ./irp/trace/... \
	./driverhost/registry/... ./driverhost/service/...

.PHONY: all build run test real bench profile profiled fixtures fixtures-check layouts-check lint race fuzz clean

all: build

build: bin/drvhost

bin/drvhost: FORCE
	$(GO) build -trimpath -o $@ ./cmd/drvhost

.PHONY: FORCE
FORCE:

# Loads a fixture driver in a host process and talks to its device from a second process.
run: build
	bin/drvhost demo

test:
	$(GO) test ./...

# The tests on drivers that others wrote. They skip, loudly, where the files are missing; with
# DRVHOST_REQUIRE_REAL_DRIVERS=1 that is a failure.
real:
	$(GO) test -count=1 -v -run TestReal ./pe ./driverhost/check ./driverhost/signature

# Prints each figure with its ratio to a floor from the same run.
bench:
	$(GO) run ./internal/bench

# Makes anew what the compiler knows of the way of an IOCTL: cmd/drvhost/default.pgo, by which it inlines.
# The profile has the paths of the test binaries in it, and so these have the same one everywhere.
PROFILE = cmd/drvhost/default.pgo
PROFILED = /tmp/drvhost-profile
profile:
	mkdir -p $(PROFILED)
	$(GO) test -c -trimpath -o $(PROFILED)/host.test ./driverhost
	$(GO) test -c -trimpath -o $(PROFILED)/replay.test ./driverhost/replay
	cd driverhost && $(PROFILED)/host.test -test.run '^$$' -test.bench 'IOCTL|Filters|OpenClose' \
		-test.benchtime 2s -test.cpuprofile $(PROFILED)/host.prof
	cd driverhost/replay && $(PROFILED)/replay.test -test.run '^$$' -test.bench . \
		-test.benchtime 2s -test.cpuprofile $(PROFILED)/replay.prof
	$(GO) tool pprof -proto $(PROFILED)/host.prof $(PROFILED)/replay.prof > $(PROFILE)
	rm -r $(PROFILED)

# The tests of what runs driver code, compiled as the command is.
profiled:
	$(GO) test -pgo=$(CURDIR)/$(PROFILE) ./engine/... ./ntoskrnl/... ./irp ./driverhost

# Needs clang, lld and mingw-w64's headers; see fixtures/build.sh.
fixtures:
	fixtures/build.sh

fixtures-check:
	fixtures/build.sh --check

layouts-check:
	nt/testdata/regen.sh --check

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	$(GO) vet ./...

race:
	CGO_ENABLED=1 $(GO) test -race $(RACE_PACKAGES)

# A number of inputs, not a time: at the end of a time the fuzzer may take its own deadline for a failure.
FUZZTIME ?= 20000x
fuzz:
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./pe
	$(GO) test -run '^$$' -fuzz '^FuzzRegFile$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./ntoskrnl/cm
	$(GO) test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./irp/trace
	$(GO) test -run '^$$' -fuzz '^FuzzMap$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./pe
	$(GO) test -run '^$$' -fuzz '^FuzzScan$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./ntoskrnl/insn
	$(GO) test -run '^$$' -fuzz '^FuzzEmulate$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./ntoskrnl/insn
	$(GO) test -run '^$$' -fuzz '^FuzzVirtualUnwind$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./ntoskrnl/seh
	$(GO) test -run '^$$' -fuzz '^FuzzMessages$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/wire
	$(GO) test -run '^$$' -fuzz '^FuzzConn$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/wire
	$(GO) test -run '^$$' -fuzz '^FuzzCheck$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/signature
	$(GO) test -run '^$$' -fuzz '^FuzzServer$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/registry
	$(GO) test -run '^$$' -fuzz '^FuzzMirror$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/registry
	$(GO) test -run '^$$' -fuzz '^FuzzRead$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./ntoskrnl/cm/hive
	$(GO) test -run '^$$' -fuzz '^FuzzSettings$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/service
	$(GO) test -run '^$$' -fuzz '^FuzzSplitCommand$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/service
	$(GO) test -run '^$$' -fuzz '^FuzzFailureActions$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./driverhost/service

clean:
	rm -rf bin
