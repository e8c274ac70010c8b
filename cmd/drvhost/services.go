package main

// services: the service manager's daemon.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/drvhost/drvhost/driverhost/registry"
	"github.com/drvhost/drvhost/driverhost/service"
	"github.com/drvhost/drvhost/driverhost/wire"
	"github.com/drvhost/drvhost/ntoskrnl"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const servicesHelp = `Services is the service manager: it keeps driver services in its registry, as Windows does
(drvhost sc registers them), starts a host process for each when it is registered or the
manager starts, unless its start type is demand or disabled, and does what its failure
actions say after a crash. It runs in the foreground; systemd/ has unit files.

The hosts outlive the manager, and a new one finds them again: to end or replace it
disturbs nobody. A service that sc stop has stopped stays so until it is started, or the
machine is.

ZwLoadDriver and ZwUnloadDriver in a driver start and stop services too: any that is not
disabled, and those that its host has started or is shared with. A driver in use is unloaded
when nothing uses it any more.

Its state lies in $DRVHOST_STATE_DIR, else $XDG_STATE_HOME/drvhost, else /var/lib/drvhost:
the registry, its socket, crashes/, and for each host a directory with its log. Everybody
who can reach the socket may query; its own user, root and --allow-user may change things.

There may be a config.json, whose fields the flags override; SIGHUP has it read again, and a
file that is wrong changes nothing. Hosts that run keep their sandbox. --check-config prints
what applies, as such a file:

  "users": ["jo", 1001]           as --allow-user
  "signature_roots": ["/a.pem"]   as --require-signature
  "sandbox": "on"                 as --sandbox
  "heartbeat": "30s"              as --heartbeat
  "start_limit": "30s", "stop_limit": "30s"      as --timeout
  "command_limit": "1m0s"         what the command of a failure may take
  "failure": {"reset_period": 60, "actions": [{"type": "restart", "delay_ms": 100}]}
                                  for services whose registration has no failure actions; also
                                  "command", "reboot_message" and "on_non_crash"
  "crashes": {"keep": 100, "bytes": 1073741824}  how much of crashes is kept`

type servicesFlags struct {
	users     []string
	roots     []string
	box       string
	heartbeat time.Duration
	limit     time.Duration
	check     bool
	given     func(flag string) bool
}

func (a *app) servicesCommand() *cobra.Command {
	var f servicesFlags
	d := service.DefaultSettings()
	cmd := &cobra.Command{
		Use:   "services",
		Short: "Run the service manager, which starts hosts for registered drivers",
		Long:  servicesHelp,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.given = cmd.Flags().Changed
			if f.check {
				return a.checkSettings(&f)
			}
			return a.services(&f)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.users, "allow-user", nil,
		"a `user`, by name or number, who may change services too (repeatable)")
	flags.StringArrayVar(&f.roots, "require-signature", nil, "refuse an image without an Authenticode "+
		"signature that a chain of certificates leads from to a root in this PEM `file` (repeatable)")
	flags.StringVar(&f.box, "sandbox", d.Sandbox, sandboxHelp)
	flags.DurationVar(&f.heartbeat, "heartbeat", d.Heartbeat,
		"`time` between questions whether a host answers, and in which it has to")
	flags.DurationVar(&f.limit, "timeout", d.StartLimit, "`time` that a start or a stop may take")
	flags.BoolVar(&f.check, "check-config", false, "print what config.json and the flags come to, and end")
	return cmd
}

// managerSettings are settings that were looked at, with what they lead to.
type managerSettings struct {
	service.Settings
	users   []uint32
	signers service.ImagePolicy // or nil
}

// settle reads config.json and lets the flags override it.
func (f *servicesFlags) settle(dir string) (*managerSettings, error) {
	s, err := service.ReadSettings(dir)
	if err != nil {
		return nil, err
	}
	now := &managerSettings{Settings: s}
	if f.given("allow-user") {
		now.Users = f.users
	}
	if f.given("require-signature") {
		now.SignatureRoots = f.roots
	}
	if f.given("sandbox") {
		now.Sandbox = f.box
	}
	if f.given("heartbeat") {
		now.Heartbeat = f.heartbeat
	}
	if f.given("timeout") {
		now.StartLimit, now.StopLimit = f.limit, f.limit
	}
	if now.users, err = userIDs(now.Users); err != nil {
		return nil, err
	}
	if err := wantedSandbox(now.Sandbox); err != nil {
		return nil, err
	}
	signers, err := signaturePolicy(now.SignatureRoots)
	if err != nil {
		return nil, err
	}
	if signers != nil {
		now.signers = signers
	}
	return now, nil
}

// may says whether a user may change services.
func (s *managerSettings) may(uid uint32) bool {
	return uid == 0 || uid == uint32(os.Geteuid()) || slices.Contains(s.users, uid)
}

// checkSettings prints what applies.
func (a *app) checkSettings(f *servicesFlags) error {
	s, err := f.settle(service.StateDir())
	if err != nil {
		return err
	}
	if a.format == formatJSON {
		return a.json(s.Settings)
	}
	b, err := json.MarshalIndent(s.Settings, "", "  ")
	if err == nil {
		_, err = fmt.Fprintf(a.out, "%s\n", b)
	}
	return err
}

// userIDs gives the numbers of users.
func userIDs(names []string) (ids []uint32, err error) {
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			u, e := user.Lookup(name)
			if e != nil {
				return nil, usage("users: %w", e)
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
	dir := service.StateDir()
	first, err := f.settle(dir)
	if err != nil {
		return err
	}
	var now atomic.Pointer[managerSettings]
	now.Store(first)
	ctx, stop := interruptible()
	defer stop()
	again := make(chan os.Signal, 1)
	signal.Notify(again, unix.SIGHUP)
	terminal := isTerminal(os.Stderr)
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
	guard := service.NewGuard(store.Registry)
	shared, err := registry.NewServer(store.Registry, registry.ServerOptions{Batch: store.Batch,
		Settled:  store.Settled,
		MayWrite: func(uid, _ uint32) bool { return now.Load().may(uid) },
		Check:    guard.Check, Limit: guard.Limit})
	if err != nil {
		return err
	}
	defer shared.Close()
	guard.OnGone = shared.Disconnect
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
	crashes := filepath.Join(dir, service.CrashesDir)
	m, err := service.NewManager(service.ManagerOptions{Dir: dir, Store: store, Log: log,
		CrashDir: crashes, Share: shared.ServeConn, Guard: guard, Settings: first.Settings,
		Policy: first.signers, Command: func() *exec.Cmd {
			return exec.Command(ownBinary(), hostArgs(a.runtimeDir, crashes, now.Load().Sandbox,
				registrySocket)...)
		}})
	if err != nil {
		return err
	}
	defer m.Close()
	server := service.NewServer(m, first.users...)
	defer server.Close()
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	log.Info("serving", "state", dir, "process", os.Getpid())
	notify(log, daemon.SdNotifyReady)
	defer notify(log, daemon.SdNotifyStopping)
	go watchdog(ctx, log, m)
	go m.Boot()
	for {
		select {
		case <-again:
			if terminal && !isTerminal(os.Stderr) {
				return nil // it is gone, which is what the signal says
			}
			notify(log, reloading())
			if next, err := f.settle(dir); err != nil {
				log.Error("the settings stay as they were", "error", err)
			} else {
				now.Store(next)
				server.SetUsers(next.users)
				m.Configure(next.Settings, next.signers)
				log.Info("the settings are read again")
			}
			notify(log, daemon.SdNotifyReady)
		case <-ctx.Done():
			log.Info("ending; the hosts run on")
			return nil
		case err := <-served:
			return err
		}
	}
}

// reloading is what systemd is told before the settings are read again (sd_notify(3)).
func reloading() string {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // which there is
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, t.Nano()/1000)
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
