package main

// inspect, exports and doctor: what can be said without running a driver.

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost/doctor"
	"github.com/drvhost/drvhost/driverhost/inspect"
)

func (a *app) inspectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what a driver's file says, without running it",
		Long: `Inspect shows a driver's headers, sections, imports and exports. For each import it says
how much of it the built-in kernel has: full, partial (with a note), stub (a call of it
is reported and raised in the driver), own (the driver brings code for its absence),
other (another driver has to be loaded first) or missing (the same as stub).`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := inspect.File(args[0])
			if err != nil {
				return loadError(err)
			}
			if a.format == formatJSON {
				return a.json(r)
			}
			_, err = r.WriteTo(a.out)
			return err
		},
	}
}

func (a *app) exportsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "exports",
		Short: "List what the built-in kernel exports, with the level of support",
		Long: `Exports lists the functions and variables of ntoskrnl.exe and hal.dll that drivers are
bound to, with how much of their documented behaviour there is, and the highest IRQL at
which the documentation allows the call.

With --format json: [{module, name, support: "full"|"partial"|"stub", note, max_irql}].`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.format == formatJSON {
				return a.json(inspect.Exports())
			}
			return inspect.WriteExports(a.out, inspect.Exports())
		},
	}
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor [FILE...]",
		Short: "Say what this machine offers and lacks, and what each lack costs",
		Long: `Doctor looks at what drvhost uses of the kernel and the processor. It exits with code 11
when something is missing without which no driver runs.

For each driver's file it says which instructions have another effect in a process than
in a kernel and can be neither trapped nor patched, so that they have their native one.

With --format json: [{name, ok, required, found, cost}].`,
		RunE: func(_ *cobra.Command, files []string) error {
			findings := doctor.Examine(a.runtimeDir)
			for _, file := range files {
				f, err := doctor.Driver(file)
				if err != nil {
					return loadError(err)
				}
				findings = append(findings, f)
			}
			var err error
			if a.format == formatJSON {
				err = a.json(findings)
			} else {
				err = doctor.Write(a.out, findings)
			}
			if err == nil && !doctor.Able(findings) {
				err = &exitError{exitMachine, fmt.Errorf("drivers cannot run on this machine"), ""}
			}
			return err
		},
	}
}
