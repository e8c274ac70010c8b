package main

// --sandbox and --limit.

import (
	"github.com/spf13/pflag"

	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/engine/native"
)

const sandboxHelp = "`mode` of the sandbox, in which a host gives up files, network and system " +
	"calls that it does not need: on, strict (refuse where this machine lacks a part of it) or off"

// wantedSandbox checks --sandbox.
func wantedSandbox(mode string) error {
	return wanted("sandbox", mode, string(sandbox.On), string(sandbox.Strict), string(sandbox.Off))
}

// sandboxFlags are what a host process is told about its sandbox.
type sandboxFlags struct {
	mode   string
	limits []string
	keys   bool
}

func (f *sandboxFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.mode, "sandbox", string(sandbox.On), sandboxHelp)
	flags.StringSliceVar(&f.limits, "limit", nil,
		"`limit` of the sandbox: memory=2G, file-size=1G, files=1000, threads=5000 (of this user) "+
			"or cpu=90s; NAME=unlimited lifts one")
	flags.BoolVar(&f.keys, "pkeys", false, "make a driver's stray write to the host's own memory a "+
		"fault, by the processor's protection keys; calls of the kernel take 40 ns more")
}

// parse gives the mode and the limits.
func (f *sandboxFlags) parse() (sandbox.Mode, sandbox.Limits, error) {
	var limits sandbox.Limits
	err := wantedSandbox(f.mode)
	for _, l := range f.limits {
		if e := limits.Set(l); err == nil && e != nil {
			err = usage("--limit %v", e)
		}
	}
	if err == nil && f.mode == string(sandbox.Off) && len(f.limits) > 0 {
		err = usage("--limit: there are no limits with --sandbox=off")
	}
	native.UseKeys = f.keys
	return sandbox.Mode(f.mode), limits, err
}

// ownFiles are what a host process reads of itself, for its reports.
var ownFiles = []string{"/proc/self"}
