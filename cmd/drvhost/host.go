package main

// host: the process that a service's driver runs in. The service manager starts it.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/internal/resident"
	"github.com/drvhost/drvhost/internal/stepping"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/ke"
	"github.com/drvhost/drvhost/pe"
)

func (a *app) hostCommand() *cobra.Command {
	var flags hostFlags
	var box sandboxFlags
	var crashDir, managers string
	cmd := &cobra.Command{
		Use:    "host",
		Short:  "Be the host of a service, for the service manager",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			var mirror *registry.Mirror
			stepping.At("host: started")
			control, err := service.InheritControl()
			if err != nil {
				return usage("the service manager starts this command: %w", err)
			}
			connected := make(chan error, 1)
			if managers != "" {
				mirror = registry.NewMirror(managers)
				flags.given = mirror.Registry()
				go func() { // beside the start of the host
					ctx, stop := context.WithTimeout(context.Background(), registryPatience)
					defer stop()
					connected <- mirror.Connect(ctx)
				}()
			} else {
				connected <- nil
			}
			flags.control = control
			l, err := a.newLoading(&flags, &box, crashDir)
			if err = errors.Join(err, <-connected); err != nil {
				return err
			}
			stepping.At("host: mirrored")
			s := &serviceHost{loading: l, control: control, mirror: mirror,
				ended: make(chan struct{}, 1)}
			return s.run()
		},
	}
	flags.add(cmd.Flags())
	box.add(cmd.Flags())
	cmd.Flags().StringVar(&crashDir, "crash-dir", "", "`directory` for what is left of a crash")
	cmd.Flags().StringVar(&managers, "manager-registry", "", "`socket` of the manager's registry")
	return cmd
}

// registryPatience is how long the manager may take to hand out its registry.
const registryPatience = 20 * time.Second

// serviceHost is a host process that a manager controls: a service.HostSide.
type serviceHost struct {
	*loading
	control *service.Control
	mirror  *registry.Mirror // or nil
	ended   chan struct{}    // has one when the end was asked for
}

func (s *serviceHost) run() error {
	<-s.notified
	err := s.host.Listen(s.runtimeDir)
	stepping.At("host: listening")
	if err == nil {
		err = s.enterSandbox()
	}
	stepping.At("host: sandboxed")
	if err != nil {
		return s.giveUp(err)
	}
	served := make(chan error, 2)
	go func() { served <- s.host.Serve() }()
	go func() { served <- s.control.Serve(s) }()
	rest := time.AfterFunc(settled, func() { _ = resident.Trim() })
	defer rest.Stop()
	select {
	case <-s.signals:
	case <-s.ended:
	case <-s.host.Done():
		if r, ok := s.host.CrashReport(); ok {
			stepping.At("host: crashed")
			s.control.Crashed(fmt.Sprintf("%s: %s", r.Name, r.Reason), s.kept)
		}
	case err := <-served:
		if err != nil {
			s.control.EndAsks()
			return s.giveUp(err)
		}
	}
	s.control.EndAsks()
	stepping.At("host: ending")
	defer stepping.At("host: ended")
	return s.end()
}

// Load loads a service's driver.
func (s *serviceHost) Load(name, file string, image []byte) error {
	img, err := pe.Parse(filepath.Base(file), image)
	if err != nil {
		return &service.Error{Code: service.BadExeFormat, Detail: err.Error()}
	}
	stepping.At("host: loading")
	d, err := s.host.LoadImage(img, name)
	stepping.At("host: loaded")
	var crash *ke.Bugcheck
	var entry *ntoskrnl.EntryError
	switch {
	case err == nil:
	case errors.As(err, &crash):
		select {} // the process ends, and says why
	case errors.As(err, &entry):
		return service.StatusError(entry.Status, err.Error())
	default:
		return err
	}
	_, err = s.host.Describe(d).WriteTo(s.out)
	return err
}

// Unload unloads a service's driver.
func (s *serviceHost) Unload(name string) error {
	for _, d := range s.host.Kernel.Drivers() {
		if !strings.EqualFold(d.Service, name) {
			continue
		}
		stepping.At("host: unloading")
		left, err := s.host.Unload(d)
		stepping.At("host: unloaded")
		var busy *driverhost.BusyError
		switch {
		case errors.As(err, &busy):
			return &service.Error{Code: service.CannotAcceptControl, Detail: err.Error()}
		case errors.Is(err, ntoskrnl.ErrNoUnload):
			return &service.Error{Code: service.InvalidControl, Detail: err.Error()}
		case errors.Is(err, ntoskrnl.ErrUnloaded):
			return nil // it was marked, and its last file was closed
		}
		for _, what := range left {
			fmt.Fprintf(s.err, "drvhost: %s left behind on unload: %s\n", name, what)
		}
		return err
	}
	return service.NotActive
}

// Follow has the host's registry follow that of a manager that has found it.
func (s *serviceHost) Follow(conn net.Conn) {
	if s.mirror == nil {
		_ = conn.Close()
		return
	}
	s.mirror.Adopt(conn)
}

// End has the process end.
func (s *serviceHost) End() error {
	select {
	case s.ended <- struct{}{}:
	default:
	}
	return nil
}

// hostArgs are the arguments of a host of a manager.
func hostArgs(runtimeDir, crashDir, sandbox, registry string) []string {
	return []string{"host", "--runtime-dir", runtimeDir, "--crash-dir", crashDir,
		"--sandbox", sandbox, "--manager-registry", registry}
}

// ownBinary is the file that this process runs, also when its name has gone to another one.
func ownBinary() string {
	if path, err := os.Executable(); err == nil && !strings.HasSuffix(path, " (deleted)") {
		return path
	}
	return "/proc/self/exe"
}
