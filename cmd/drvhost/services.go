package main

// services: the service manager's daemon.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/sandbox"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const servicesHelp = `Services is the service manager: it keeps driver services in its registry, as Windows does
(drvhost sc registers them), starts a host process for each when it is registered or the
manager starts, unless its start type is demand or disabled, and starts it again after a
crash as its failure actions say. It runs in the foreground; systemd/ has unit files.

The hosts outlive the manager, and a new one finds them again: to end or replace it
disturbs nobody. A service that sc stop has stopped stays so until it is started, or the
machine is.

Its state lies in $DRVHOST_STATE_DIR, else $XDG_STATE_HOME/drvhost, else /var/lib/drvhost:
the registry, its socket, crashes/, and for each host a directory with its log. Everybody
who can reach the socket may query; its own user, root and --allow-user may change things.`

type servicesFlags struct {
	users     []string
	roots     []string
	box       string
	heartbeat time.Duration
	limit     time.Duration
}

func (a *app) servicesCommand() *cobra.Command {
	var f servicesFlags
	cmd := &cobra.Command{
		Use:   "services",
		Short: "Run the service manager, which starts hosts for registered drivers",
		Long:  servicesHelp,
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.services(&f) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.users, "allow-user", nil,
		"a `user`, by name or number, who may change services too (repeatable)")
	flags.StringArrayVar(&f.roots, "require-signature", nil, "refuse an image without an Authenticode "+
		"signature that a chain of certificates leads from to a root in this PEM `file` (repeatable)")
	flags.StringVar(&f.box, "sandbox", string(sandbox.On), sandboxHelp)
	flags.DurationVar(&f.heartbeat, "heartbeat", 30*time.Second,
		"`time` between questions whether a host answers, and in which it has to")
	flags.DurationVar(&f.limit, "timeout", 30*time.Second, "`time` that a start or a stop may take")
	return cmd
}

// userIDs gives the numbers of users.
func userIDs(names []string) (ids []uint32, err error) {
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			u, e := user.Lookup(name)
			if e != nil {
				return nil, usage("--allow-user: %w", e)
			}
			if n, err = strconv.ParseUint(u.Uid, 10, 32); err != nil {
				return nil, err
			}
		}
		ids = append(ids, uint32(n))
	}
	return ids, nil
}

func (a *app) services(f *servicesFlags) error {
	users, err := userIDs(f.users)
	if err != nil {
		return err
	}
	if err := wantedSandbox(f.box); err != nil {
		return err
	}
	signers, err := signaturePolicy(f.roots)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	dir := service.StateDir()
	log := hclog.New(&hclog.LoggerOptions{Name: "services", Output: a.err,
		JSONFormat: a.format == formatJSON})
	store, err := service.Open(filepath.Join(dir, service.RegistryFile),
		func() *cm.Registry { return ntoskrnl.NewRegistry(0) })
	if errors.Is(err, service.ErrInUse) {
		return &exitError{exitClaimed, err, "another service manager runs"}
	}
	if err != nil {
		return err
	}
	defer store.Close()
	shared, err := registry.NewServer(store.Registry, registry.ServerOptions{Batch: store.Batch,
		Settled: store.Settled,
		MayWrite: func(uid, _ uint32) bool {
			return uid == 0 || uid == uint32(os.Geteuid()) || slices.Contains(users, uid)
		}})
	if err != nil {
		return err
	}
	defer shared.Close()
	if err := os.Chmod(dir, 0o711); err != nil { // others may reach the socket, and see nothing else
		return err
	}
	if err := wire.PrepareRuntimeDir(a.runtimeDir); err != nil {
		return err
	}
	l, err := servicesListener(filepath.Join(dir, service.ServicesSocket))
	if err != nil {
		return err
	}
	defer l.Close()
	registrySocket := filepath.Join(dir, service.RegistrySocket)
	shares, err := service.ListenSocket(registrySocket)
	if err != nil {
		return err
	}
	go func() { _ = shared.Serve(shares) }() // until Close
	crashes := filepath.Join(dir, "crashes")
	options := service.ManagerOptions{Dir: dir, Store: store, Log: log, CrashDir: crashes,
		Share:      shared.ServeConn,
		StartLimit: f.limit, StopLimit: f.limit, Heartbeat: f.heartbeat,
		Command: func() *exec.Cmd {
			return exec.Command(ownBinary(), hostArgs(a.runtimeDir, crashes, f.box, registrySocket)...)
		}}
	if signers != nil {
		options.Policy = signers
	}
	m, err := service.NewManager(options)
	if err != nil {
		return err
	}
	defer m.Close()
	server := service.NewServer(m, users...)
	defer server.Close()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	log.Info("serving", "state", dir, "process", os.Getpid())
	notify(log, daemon.SdNotifyReady)
	defer notify(log, daemon.SdNotifyStopping)
	go watchdog(ctx, log, m)
	go m.Boot()
	select {
	case <-ctx.Done():
		log.Info("ending; the hosts run on")
		return nil
	case err := <-served:
		return err
	}
}

// notify tells systemd, if it has started this process.
func notify(log hclog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd is not told", "state", state, "error", err)
	}
}

// watchdog tells systemd, if it wants to know, that the manager answers.
func watchdog(ctx context.Context, log hclog.Logger, m *service.Manager) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return
	}
	t := time.NewTicker(every / 2)
	defer t.Stop()
	for {
		m.QueryAll() // a manager that hangs does not come back from here
		notify(log, daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// servicesListener gives the socket that systemd has passed, or makes it.
func servicesListener(path string) (net.Listener, error) {
	passed, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	switch len(passed) {
	case 0:
	case 1:
		if passed[0] == nil {
			return nil, errors.New("socket activation: descriptor 3 is no stream socket")
		}
		return passed[0], nil
	default:
		return nil, fmt.Errorf("socket activation: %d sockets, want one", len(passed))
	}
	// Only one process has the store open, so that what lies there is a dead one's.
	return service.ListenSocket(path)
}
